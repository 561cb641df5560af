"""Why WebSockets end, and how many there are: what metrics tell of them."""

from __future__ import annotations

from typing import Final

from aiogateway.metrics import Metrics, families
from aiogateway.websocket.frames import TOO_LARGE, TOO_MANY

# The values of `gateway_websocket_closes_total`'s label.
CLIENT_CLOSED: Final = "client_closed"
UPSTREAM_CLOSED: Final = "upstream_closed"
CLIENT_LOST: Final = "client_lost"
UPSTREAM_LOST: Final = "upstream_lost"
IDLE: Final = "idle"
DRAINING: Final = "draining"
CUT: Final = "cut"
REFUSED: Final = {TOO_LARGE: "message_too_large", TOO_MANY: "rate_limited"}


class Sockets:
    """What is known of all WebSockets of a worker.

    :ivar active: how many there are.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.active = 0
        metrics.gauge(families.WEBSOCKETS, lambda: [((), self.active)])

    def closed(self, reason: str) -> None:
        """Count one that is over."""
        self._metrics.count(families.WEBSOCKET_CLOSES, reason).events += 1
