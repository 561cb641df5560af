"""What the gateway counts, by the contract's names (contract, "Metrics").

`families` is the table of all there is, `tallies` what requests add to, `exposition` what Prometheus is shown.
"""

from __future__ import annotations

from aiogateway.metrics.exposition import exposition
from aiogateway.metrics.families import FAMILIES
from aiogateway.metrics.tallies import Count, Metrics, Tally

__all__ = ["FAMILIES", "Count", "Metrics", "Tally", "exposition"]
