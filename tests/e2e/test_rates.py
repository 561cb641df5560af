"""The minimum rates, judged on the exchanges that `hasty` started a while ago."""

from __future__ import annotations

from .harness import Backend, assert_problem, eventually
from .hasty import Slow


def test_a_client_below_the_minimum_upload_rate_is_408_after_the_grace(slow: Slow) -> None:
    eventually(lambda: slow.upload or slow.uploaded, "the slow upload ends", within=45)
    assert slow.upload is not None
    assert_problem(slow.upload, "request_timeout")
    assert 29 <= slow.uploaded <= 40


def test_a_client_below_the_minimum_download_rate_is_cut_after_the_grace(slow: Slow, backend: Backend) -> None:
    """The upstream's side tells when: what the kernel holds already may still reach the client."""
    connection = backend.one(slow.download_path).connection
    eventually(lambda: connection.closed, "the slow download ends", within=45)
    assert connection.closed is not None
    assert 29 <= connection.closed - slow.started <= 40
    slow.stop()
    assert not slow.download_complete
