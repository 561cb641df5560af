"""What counters are asked, wherever they are kept."""

from __future__ import annotations

from collections.abc import Sequence

from aiogateway.stores.windows import Policy

# Policies, each with whom it counts for, such as an address or a user.
Checks = Sequence[tuple[Policy, str]]


class Unavailable(Exception):
    """The counters could not be asked, or did not answer in time. The text names the kind of fault, nothing else."""
