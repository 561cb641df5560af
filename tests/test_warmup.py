"""A worker that serves itself before it serves."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from structlog.testing import capture_logs

from aiogateway.settings import read
from aiogateway.warmup import warm_up


async def test_nothing_is_left_behind_and_nothing_is_said(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    settings = read({"GATEWAY_AUTH_MODE": "off"})
    await warm_up(settings)  # once, so that what is loaded for good is
    descriptors, tasks = set(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    with capture_logs() as logs:
        await warm_up(settings)
    assert not logs
    assert len(asyncio.all_tasks()) == tasks
    assert len(set(os.listdir("/proc/self/fd")) - descriptors) == 0
    assert capfdbinary.readouterr().out == b""


async def test_where_it_is_not_to_be_had_a_start_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int]) -> socket.socket:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", refuse)
    with capture_logs() as logs:
        await warm_up(read({"GATEWAY_AUTH_MODE": "off"}))
    assert [entry["log_level"] for entry in logs] == ["warning"]
