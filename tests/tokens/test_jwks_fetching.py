"""When a key set is fetched from a real server, and what becomes of bad answers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from aiogateway.tokens.jwks import COOLDOWN, COOLDOWN_WITHOUT_KEYS, MAX_BODY, MAX_CANDIDATES, REFRESH_AFTER, Jwks
from aiogateway.tokens.keys import Unavailable
from tests.clock import Clock, eventually
from tests.tokens.issuer import Issuer, issuing, jwks_of, started
from tests.tokens.signing import public_jwk


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as server:
        yield server


async def kids(jwks: Jwks, kid: str | None, algorithm: str = "RS256") -> list[str | None] | str:
    """The names of the candidates; `unavailable` if there are none at all."""
    try:
        return [key.kid for key in await jwks.candidates(kid, algorithm)]
    except Unavailable:
        return "unavailable"


async def settled(jwks: Jwks, issuer: Issuer, fetches: int) -> None:
    """Wait for the end of the given fetch, which is under way."""
    await eventually(lambda: issuer.fetches == fetches and jwks._flight is None, f"fetch {fetches}")


async def test_the_first_fetch_begins_with_the_start_and_nobody_waits_for_it(issuer: Issuer) -> None:
    issuer.open.clear()
    async with started(jwks_of(issuer, Clock())) as jwks:
        await eventually(lambda: issuer.fetches == 1, "a fetch")
        assert jwks.generation() == 0
        waiter = asyncio.create_task(kids(jwks, "r0"))
        issuer.open.set()
        assert await waiter == ["r0"]
        assert (jwks.generation(), issuer.fetches) == (1, 1)


async def test_an_issuer_that_is_down_does_not_fail_the_start_and_is_asked_again_soon(issuer: Issuer) -> None:
    await issuer.stop()
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == "unavailable"
        await issuer.start()
        clock.advance(COOLDOWN_WITHOUT_KEYS - 0.1)
        assert await kids(jwks, "r0") == "unavailable"
        assert issuer.fetches == 0
        clock.advance(0.1)
        assert await kids(jwks, None) == ["r0"]


async def test_without_keys_and_within_the_cooldown_nobody_waits(issuer: Issuer) -> None:
    issuer.says(b"", 500)
    async with started(jwks_of(issuer, Clock())) as jwks:
        assert await kids(jwks, "r0") == "unavailable"
        issuer.open.clear()
        assert [await kids(jwks, name) for name in ("r0", None, "r1")] == ["unavailable"] * 3
        assert issuer.fetches == 1


async def test_unknown_kids_cost_one_fetch_a_cooldown_however_many_they_are(issuer: Issuer) -> None:
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == ["r0"]
        assert await asyncio.gather(*(kids(jwks, f"x{number}") for number in range(100))) == [[]] * 100
        assert issuer.fetches == 1, "the first fetch began the cooldown"
        clock.advance(COOLDOWN)
        assert await kids(jwks, None) == ["r0"]
        assert issuer.fetches == 1, "a token that names no key names no unknown one"
        assert await asyncio.gather(*(kids(jwks, f"x{number}") for number in range(1000))) == [[]] * 1000
        assert await kids(jwks, "x") == []
        assert issuer.fetches == 2
        clock.advance(COOLDOWN - 0.1)
        assert await kids(jwks, "x") == []
        assert issuer.fetches == 2
        clock.advance(0.1)
        assert await kids(jwks, "x") == []
        assert issuer.fetches == 3
        assert jwks.generation() == 1, "the same keys again are no change"


async def test_a_rotated_key_is_found_by_all_who_ask_for_it_at_once(issuer: Issuer) -> None:
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == ["r0"]
        issuer.gives(public_jwk("ES256", kid="e1"))
        issuer.open.clear()
        clock.advance(COOLDOWN)
        waiters = [asyncio.create_task(kids(jwks, "e1", "ES256")) for _ in range(20)]
        await eventually(lambda: issuer.fetches == 2, "a fetch")
        assert await kids(jwks, "r0") == ["r0"], "who needs no new key doesn't wait"
        issuer.open.set()
        assert await asyncio.gather(*waiters) == [["e1"]] * 20
        assert (issuer.fetches, jwks.generation()) == (2, 2)
        assert await kids(jwks, "r0") == [], "a withdrawn key is gone"


async def test_a_waiter_that_goes_away_does_not_end_the_fetch(issuer: Issuer) -> None:
    issuer.open.clear()
    async with started(jwks_of(issuer, Clock())) as jwks:
        first, second = (asyncio.create_task(kids(jwks, "r0")) for _ in range(2))
        await eventually(lambda: issuer.fetches == 1, "a fetch")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        issuer.open.set()
        assert await second == ["r0"]
        assert issuer.fetches == 1


async def test_an_old_set_is_refreshed_in_the_background(issuer: Issuer) -> None:
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == ["r0"]
        issuer.gives(public_jwk("RS256", 1, kid="r1"))
        clock.advance(REFRESH_AFTER - 0.1)
        assert jwks.generation() == 1
        await asyncio.sleep(0)
        assert jwks._flight is None
        clock.advance(0.1)
        issuer.open.clear()
        assert jwks.generation() == 1, "to ask begins a refresh"
        await eventually(lambda: issuer.fetches == 2, "a fetch")
        assert await kids(jwks, "r0") == ["r0"], "the old keys serve meanwhile"
        issuer.open.set()
        await eventually(lambda: jwks.generation() == 2, "other keys")
        assert await kids(jwks, "r1") == ["r1"]
        assert await kids(jwks, "r0") == []


async def test_old_keys_stay_while_the_issuer_is_down_and_it_is_asked_once_a_cooldown(issuer: Issuer) -> None:
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == ["r0"]
        issuer.says(b"", 503)
        clock.advance(10 * REFRESH_AFTER)
        for fetches in (2, 3, 4):
            for _ in range(5):
                assert jwks.generation() == 1
                assert await kids(jwks, "r0") == ["r0"]
            await settled(jwks, issuer, fetches)
            assert await kids(jwks, "r0") == ["r0"]
            clock.advance(COOLDOWN)
        issuer.gives(public_jwk("RS256", 1, kid="r1"))
        assert await kids(jwks, "r1") == ["r1"]


async def redirects(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"keys":')
    assert request.transport is not None
    request.transport.abort()
    return response


async def never_ends(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


GOOD = orjson.dumps({"keys": [public_jwk("RS256", 1, kid="r1")]})
BAD: dict[str, tuple[Any, str]] = {
    "status 500": ((GOOD, 500), "status 500"),
    "status 204": ((b"", 204), "status 204"),
    "status 206": ((GOOD, 206), "status 206"),
    "a redirect": (redirects, "status 302"),
    "HTML": ((b"<!doctype html><title>keys</title>", 200), "no JSON"),
    "nothing": ((b"", 200), "no JSON"),
    "no usable key": ((b'{"keys":[{"kty":"oct","k":"AAAA"}]}', 200), "no usable key"),
    "no set": ((b'["keys"]', 200), "no key set"),
    "a little more than a MiB": ((GOOD + b" " * MAX_BODY, 200), "more than 1 MiB"),
    "no end": (never_ends, "more than 1 MiB"),
    "half of it": (breaks_off, "ClientPayloadError"),
}


@pytest.mark.parametrize(("answer", "fault"), BAD.values(), ids=BAD)
async def test_a_bad_answer_changes_nothing_and_is_told_once(issuer: Issuer, answer: Any, fault: str) -> None:
    clock = Clock()
    async with started(jwks_of(issuer, clock)) as jwks:
        assert await kids(jwks, "r0") == ["r0"]
        if callable(answer):
            issuer.answer = answer
        else:
            issuer.says(*answer)
        with capture_logs() as logged:
            for _ in range(3):
                clock.advance(COOLDOWN)
                assert await kids(jwks, "r1") == []
            assert await kids(jwks, "r0") == ["r0"]
            assert (issuer.fetches, jwks.generation()) == (4, 1)
            issuer.says(GOOD)
            clock.advance(COOLDOWN)
            assert await kids(jwks, "r1") == ["r1"]
        assert [(line["log_level"], line.get("fault")) for line in logged] == [("warning", fault), ("info", None)]
        assert {line["url"] for line in logged} == {issuer.url}, "the query may hold a secret"


async def test_a_compressed_answer_is_not_unpacked(issuer: Issuer) -> None:
    issuer.says(gzip.compress(GOOD), 200, **{"Content-Encoding": "gzip"})
    async with started(jwks_of(issuer, Clock())) as jwks:
        assert await kids(jwks, "r1") == "unavailable"


async def test_a_fetch_that_takes_too_long_is_given_up(issuer: Issuer) -> None:
    issuer.open.clear()
    with capture_logs() as logged:
        async with started(jwks_of(issuer, Clock(), timeout=0.05)) as jwks:
            assert await kids(jwks, "r0") == "unavailable"
    assert [line["fault"] for line in logged] == ["TimeoutError"]


RAW = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a status of letters": b"HTTP/1.1 OK 200\r\n\r\n",
    "a status too large": b"HTTP/1.1 99999 OK\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a name with a space": b"HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 0\r\n\r\n",
    "an endless line": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000,
    "odd fields": b"HTTP/1.1 200 OK\r\nContent-Type: \xff;charset=\xfe\r\nSet-Cookie: \xff=;;\r\n\r\n{",
    "only hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("answer", RAW.values(), ids=RAW)
async def test_an_answer_that_is_hardly_http_is_an_outage_and_no_crash(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with capture_logs() as logged:
            async with started(Jwks(f"http://127.0.0.1:{port}/", ("RS256",), Clock())) as jwks:
                assert await kids(jwks, "r0") == "unavailable"
    assert [line["log_level"] for line in logged] == ["warning"]


async def test_cookies_and_the_environments_proxies_are_not_used(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        assert request.path_qs == "/keys.json?token=s3cret"
        return web.Response(body=GOOD, headers={"Set-Cookie": "a=b"})

    issuer.answer = answer
    clock = Clock()
    url = f"http://localhost:{issuer.port}/keys.json?token=s3cret"  # by name: no jar takes an address's cookies
    async with started(Jwks(url, ("RS256",), clock)) as jwks:
        assert await kids(jwks, "r1") == ["r1"]
        clock.advance(COOLDOWN)
        assert await kids(jwks, "x") == []
    assert len(seen) == 2
    assert all("cookie" not in fields and fields["accept-encoding"] == "identity" for fields in seen)


@pytest.mark.parametrize("when", ["before start", "fetching", "fetched", "twice"])
async def test_closing_ends_a_fetch_and_whoever_waits_for_it_is_told(issuer: Issuer, when: str) -> None:
    jwks = jwks_of(issuer, Clock(), timeout=60)
    if when == "before start":
        await jwks.close()
        assert await kids(jwks, "r0") == "unavailable"
        return
    if when == "fetching":
        issuer.open.clear()
    await jwks.start()
    waiter = asyncio.create_task(kids(jwks, "r0"))
    await eventually(lambda: issuer.fetches == 1, "a fetch")
    if when != "fetching":
        assert await waiter == ["r0"]
    async with asyncio.timeout(30):
        await jwks.close()
    if when == "fetching":
        assert await waiter == "unavailable"
    if when == "twice":
        await jwks.close()
    await kids(jwks, "x")
    assert issuer.fetches == 1
    assert not [task for task in asyncio.all_tasks() if "Jwks" in repr(task)]


async def test_candidates_have_the_tokens_kid_or_none_and_are_few(issuer: Issuer) -> None:
    issuer.gives(
        public_jwk("RS256", kid="same"),
        public_jwk("RS256", 1, kid="same"),
        public_jwk("ES256", kid="same"),
        public_jwk("ES256", kid="pinned", alg="ES256"),
        *(public_jwk("EdDSA") for _ in range(MAX_CANDIDATES + 2)),
        public_jwk("EdDSA", kid="named"),
    )
    async with started(jwks_of(issuer, Clock())) as jwks:
        assert await kids(jwks, "same") == ["same", "same"]
        assert await kids(jwks, "same", "ES256") == ["same"]
        assert await kids(jwks, None, "ES256") == ["same", "pinned"]
        assert await kids(jwks, "pinned", "RS256") == []
        assert await kids(jwks, "named", "EdDSA") == ["named"]
        assert await kids(jwks, None, "EdDSA") == [None] * MAX_CANDIDATES
        assert await kids(jwks, "unknown", "EdDSA") == [None] * MAX_CANDIDATES, "a key without a name may be any"
