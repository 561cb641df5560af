"""aiogateway: the one public HTTP entry between the platform's clients and its microservices."""

from __future__ import annotations

__version__ = "0.1.0"
