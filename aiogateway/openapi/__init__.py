"""The route table as an OpenAPI document: what a client may ask for, and what it may be answered.

Rules: pure functions of table and settings; whoever may ask may read it, so no destination, inner path or secret is in
it. The order of the files doesn't matter, and the same table gives the same bytes.
"""

from __future__ import annotations

from aiogateway.openapi.document import document

__all__ = ["document"]
