"""The way to an OpenTelemetry collector: OTLP over HTTP, in protobuf.

Rules: the exporter is opentelemetry's own, and so `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT`, `_CERTIFICATE` and
`_COMPRESSION` are read by it; nothing else of the SDK runs. The collector is asked directly: no proxy is used, no
password file read, no redirect followed. Of its answer only the status counts.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import SpanExportResult

from aiogateway import __version__
from aiogateway.spans.finished import Finished
from aiogateway.spans.shape import spans_of

# Bytes of an answer that are read, so that its connection can be kept; a good one has a few.
MAX_ANSWER: Final = 64 * 1024
# They tell every failure anew, and repeat header fields that they can't read.
TALKATIVE: Final = ("opentelemetry", "requests", "urllib3")


def traces_url(endpoint: str) -> str:
    """Where spans go, below a collector's base URL (OTLP specification, "Endpoint URLs for OTLP/HTTP")."""
    parts = urlsplit(endpoint)
    return parts._replace(path=f"{parts.path.rstrip('/')}/v1/traces").geturl()


def resource() -> Resource:
    """Who sends the spans. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    known = {
        "service.name": "aiogateway",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource(known).merge(OTELResourceDetector().detect())


class _Session(requests.Session):
    """A session that knows how its last request went.

    :ivar failure: in a word or two, without anything that a header field holds; empty when all went well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.stream = True  # the body waits until it is asked for
        self.failure = ""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            with super().request(*args, **kwargs) as response:
                response.raw.read(MAX_ANSWER)
        except Exception as exc:
            self.failure = type(exc).__name__
            raise
        self.failure = "" if response.ok and not response.is_redirect else f"status {response.status_code}"
        return response


class Collector:
    """:param endpoint: the collector's base URL."""

    def __init__(self, endpoint: str) -> None:
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._resource = resource()
        self._session = _Session()
        self._exporter = OTLPSpanExporter(
            traces_url(endpoint), session=self._session, meter_provider=NoOpMeterProvider()
        )

    def send(self, batch: Sequence[Finished]) -> str:
        """Send the spans of requests; takes as long as `OTEL_EXPORTER_OTLP_TIMEOUT` says, 10 s by default.

        :returns: why they are lost, in a word or two; empty when the collector took them.
        """
        self._session.failure = ""
        try:
            spans = [span for each in batch for span in spans_of(each, self._resource)]
            result = self._exporter.export(spans)
        except Exception as exc:  # a fault in here must not end the thread: it costs this batch
            return type(exc).__name__
        return self._session.failure or ("" if result is SpanExportResult.SUCCESS else "not sent")

    def close(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
