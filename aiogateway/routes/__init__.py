"""The route table, for who uses it: its parts (`table`), and how it is read from files (`loading`)."""

from __future__ import annotations

from aiogateway.routes.loading import configure, load
from aiogateway.routes.table import OWN_PATHS, Endpoint, Match, Route, Table, Upstream

__all__ = ["OWN_PATHS", "Endpoint", "Match", "Route", "Table", "Upstream", "configure", "load"]
