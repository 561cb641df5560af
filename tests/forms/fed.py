"""Bodies as they come: in pieces."""

from __future__ import annotations

from hypothesis import strategies as st

from aiogateway.forms import Scanner


def read(scanner: Scanner, parts: list[bytes]) -> Scanner:
    """Show it a whole body."""
    for part in parts:
        scanner.feed(part)
    scanner.finish()
    return scanner


def pieces(body: bytes, data: st.DataObject) -> list[bytes]:
    """The body cut anywhere."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=5)))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
