"""`python -m aiogateway` is the console script `aiogateway`."""

from __future__ import annotations

from aiogateway.cli import main

if __name__ == "__main__":
    main()
