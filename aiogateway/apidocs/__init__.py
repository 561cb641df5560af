"""The pages that show the API: `/docs`, a Swagger UI of our own serving, and `/openapi.json`.

Rules: pages are made once, at the first request for any of them and off the loop. They ask nothing of another origin,
and their policy forbids it. `swagger` holds unchanged files of a release of Swagger UI; see `swagger/VERSION`.
"""

from __future__ import annotations

from aiogateway.apidocs.docs import Docs, handlers
from aiogateway.apidocs.pages import PATHS

__all__ = ["PATHS", "Docs", "handlers"]
