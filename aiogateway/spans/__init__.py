"""Traces: what is known of a sampled request becomes spans at an OpenTelemetry collector (the extra `otel`).

`finished` is what the loop hands over, `shape` makes spans of it, `collector` sends them, `sender` is the queue and the
thread between them. Nothing of opentelemetry is imported unless a collector is configured.
"""

from __future__ import annotations

from aiogateway.spans.sender import Spans, spans_from

__all__ = ["Spans", "spans_from"]
