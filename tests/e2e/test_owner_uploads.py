"""The owner of a multipart upload or a long body: judged before anything goes upstream, watched to the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, Peer, chunked, eventually, peak_memory_of, reply, request, running, write_table
from .harness.guards import assert_refused
from .harness.tokens import as_user

ROUTES = """
auth = "required"
rate_limit = "off"
upstream = "main"
max_body = "1 GiB"
[[route]]
path = "/form/{rest:path}"
owner = "form:user_id"
[[route]]
path = "/json/{rest:path}"
owner = "json:user_id"
[[route]]
path = "/small/{rest:path}"
owner = "form:user_id"
max_body = "256 KiB"
"""
MIB = 1 << 20
READ_AHEAD = 64 << 10
TYPE = "Content-Type: multipart/form-data; boundary=edge"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that knows owners, and takes large bodies."""
    config = write_table(tmp_path_factory.mktemp("uploads") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
    with running(config, GATEWAY_AUTH_MODE="enforce") as gateway:
        yield gateway


def field(name: str, value: bytes, disposition: str = "") -> bytes:
    """A part that is a field; `disposition` replaces the whole of its Content-Disposition's value."""
    told = disposition or f'form-data; name="{name}"'
    return b"--edge\r\nContent-Disposition: " + told.encode() + b"\r\n\r\n" + value + b"\r\n"


def file(content: bytes, name: str = "files") -> bytes:
    """A part that is a file."""
    head = f'form-data; name="{name}"; filename="a.pdf"\r\nContent-Type: application/pdf'.encode()
    return b"--edge\r\nContent-Disposition: " + head + b"\r\n\r\n" + content + b"\r\n"


END = b"--edge--\r\n"
MINE, OTHER, FILE = field("user_id", b"u1"), field("user_id", b"u2"), file(b"%PDF-1.7 \r\n--edg\r\n")
PROJECT = field("project_id", b"p1")


def ask(gateway: Gateway, path: str, body: bytes, kind: str = TYPE, coding: str = "length") -> int:
    """Send a whole body; the status."""
    if coding == "length":
        return gateway.send("POST", path, kind, as_user(), body=body).status
    head = request("POST", path, kind, as_user(), "Transfer-Encoding: chunked")
    return gateway.ask(head + chunked(*(body[at : at + 11] for at in range(0, len(body), 11)))).status


GOOD = {
    "fields alone": MINE + PROJECT + END,
    "before its files": MINE + PROJECT + FILE + FILE + END,
    "after other fields": PROJECT + MINE + FILE + END,
    "a field behind the file": MINE + FILE + PROJECT + END,
    "with a preamble and an epilogue": b"to whom it may concern\r\n" + MINE + FILE + END + b"yours",
    "without the last line end": MINE + FILE + b"--edge--",
    "its name without quotes": field("", b"u1", "form-data; name=user_id") + FILE + END,
    "its name first seen in a value": field("note", b'name="user_id"') + MINE + FILE + END,
    "its name in a file's content": MINE + file(b'Content-Disposition: form-data; name="user_id"\r\n\r\nu2') + END,
}


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_an_upload_of_ones_own_passes_byte_for_byte(owned: Gateway, backend: Backend, body: bytes, coding: str) -> None:
    path = backend.serve(reply(), "/form")
    assert ask(owned, path, body, coding=coding) == 200
    assert backend.one(path).body.data == body
    assert backend.one(path).value("x-user-id") == "u1"


def test_a_boundary_in_quotes_is_understood(owned: Gateway, backend: Backend) -> None:
    path, body = backend.serve(reply(), "/form"), (MINE + FILE + END).replace(b"--edge", b"--e dge:1")
    assert ask(owned, path, body, 'Content-Type: Multipart/Form-Data; charset=utf-8; Boundary="e dge:1"') == 200
    assert backend.one(path).body.data == body


FOLDED = b'--edge\r\nContent-Disposition: form-data;\r\n name="user_id"\r\n\r\nu2\r\n'
BASE64 = OTHER.replace(b"\r\n\r\nu2", b"\r\nContent-Transfer-Encoding: base64\r\n\r\ndTE=")
TWICE = OTHER.replace(b"--edge\r\n", b'--edge\r\nContent-Disposition: form-data; name="note"\r\n')
HOSTILE = {
    "another's": OTHER + FILE + END,
    "absent": PROJECT + FILE + END,
    "empty": field("user_id", b"") + FILE + END,
    "only behind the file": FILE + MINE + END,
    "twice before the file": MINE + MINE + FILE + END,
    "one's own and another's": MINE + OTHER + FILE + END,
    "another's and one's own": OTHER + MINE + FILE + END,
    "another's behind the file": MINE + FILE + OTHER + END,
    "one's own again behind the file": MINE + FILE + MINE + END,
    "another's behind two files": MINE + FILE + FILE + OTHER + END,
    "another's as a file": MINE + file(b"u2", "user_id") + END,
    "as a file only": file(b"u1", "user_id") + END,
    "as a file without a name": field("", b"u1", 'form-data; name="user_id"; filename=""') + END,
    "as a file with a coded name": field("", b"u1", "form-data; name=\"user_id\"; filename*=UTF-8''a") + END,
    "its value in base64": BASE64 + FILE + END,
    "its head folded": MINE + FOLDED + FILE + END,
    "two dispositions": MINE + TWICE + FILE + END,
    "two names": MINE + field("", b"u2", 'form-data; name="note"; name="user_id"') + FILE + END,
    "two names, the other first": field("", b"u1", 'form-data; name="user_id"; name="note"') + FILE + END,
    "a coded name beside it": MINE + field("", b"u2", "form-data; name*=UTF-8''user_id") + FILE + END,
    "an escaped name beside it": MINE + field("", b"u2", 'form-data; name="user\\_id"') + FILE + END,
    "its name without quotes beside it": MINE + field("", b"u2", "form-data; name=user_id") + FILE + END,
    "its name in single quotes": field("", b"u1", "form-data; name='user_id'") + FILE + END,
    "spaces around the sign": MINE + field("", b"u2", 'form-data; name = "user_id"') + FILE + END,
    "capitals in the parameter": MINE + field("", b"u2", 'FORM-DATA; NAME="user_id"') + FILE + END,
    "capitals in the field": MINE + OTHER.replace(b"Content-D", b"CONTENT-d") + FILE + END,
    "a space before the colon": MINE + OTHER.replace(b"Disposition:", b"Disposition :") + FILE + END,
    "a line end in its value": field("user_id", b"u1\r\n") + FILE + END,
    "bare LF": (OTHER + FILE + END).replace(b"\r\n", b"\n"),
    "bare LF beside CRLF": MINE + OTHER.replace(b"\r\n", b"\n") + FILE + END,
    "spaces behind the boundary": MINE + OTHER.replace(b"--edge\r\n", b"--edge  \r\n") + FILE + END,
    "a delimiter within the preamble's line": b"junk" + OTHER + MINE + FILE + END,
    "a delimiter behind a bare LF of the preamble": b"junk\n" + OTHER + MINE + FILE + END,
    "a delimiter behind a bare CR of the preamble": b"junk\r" + OTHER + MINE + FILE + END,
    "an end in the preamble": END + OTHER + MINE + FILE + END,
    "a part of its own in the preamble": b"junk\r\n" + OTHER.replace(b"\r\n", b"\n") + MINE + FILE + END,
    "a delimiter within the epilogue's line": MINE + FILE + END + b"junk" + OTHER + END,
    "a delimiter behind a bare LF of the epilogue": MINE + FILE + END + b"junk\n" + OTHER + END,
    "a delimiter right behind the end": MINE + FILE + b"--edge--" + OTHER + END,
    "only in the preamble": b'Content-Disposition: form-data; name="user_id"\r\n\r\nu1\r\n' + FILE + END,
    "only in the epilogue": PROJECT + END + MINE + END,
    "another's in the epilogue": MINE + FILE + END + OTHER + END,
    "no end": MINE,
    "no end of its head": b'--edge\r\nContent-Disposition: form-data; name="user_id"',
    "another boundary": (MINE + FILE + END).replace(b"--edge", b"--ridge"),
    "nothing": b"",
    "a form of the other kind": b"user_id=u1",
    "an endless head": b"--edge\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n" + MINE + END,
    "very many parts": field("a", b"") * 900 + OTHER + END,
}


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_could_be_read_as_anothers_never_arrives_whole(
    owned: Gateway, backend: Backend, body: bytes, coding: str
) -> None:
    path = backend.serve(reply(), "/form")
    assert ask(owned, path, body, coding=coding) in (400, 403, 413, 415)
    eventually(lambda: all(seen.connection.closed for seen in backend.seen(path)), "what was begun is cut off")
    assert not [seen for seen in backend.seen(path) if seen.body.complete]


BOUNDARIES = [
    "multipart/form-data; boundary=edge; boundary=other",
    "multipart/form-data; boundary=other; boundary=edge",
    "multipart/form-data; boundary=",
    'multipart/form-data; boundary=""',
    "multipart/form-data; boundary=" + "e" * 5000,
    "multipart/form-data; boundary*=UTF-8''edge",
    "multipart/form-data boundary=edge",
    "multipart/mixed; boundary=edge",
]


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_a_boundary_that_two_parsers_read_differently_is_refused(owned: Gateway, backend: Backend, kind: str) -> None:
    path = backend.serve(reply(), "/form")
    assert ask(owned, path, MINE + FILE + END, f"Content-Type: {kind}") in (400, 403, 415)
    assert not backend.seen(path)


def test_an_upload_begins_upstream_while_it_still_comes(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/form")
    body = MINE + PROJECT + file(bytes(2 * MIB)) + END
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), f"Content-Length: {len(body)}") + body[: 300 << 10])
        seen = backend.wait_for(path)
        eventually(lambda: seen.body.count > READ_AHEAD, "the file's first part arrives")
        client.send(body[300 << 10 :])
        assert client.read().status == 200
    assert (seen.body.complete, seen.body.count) == (True, len(body))


def test_large_uploads_cost_no_memory(owned: Gateway, backend: Backend) -> None:
    path, size = backend.serve(reply(), "/form"), 128 * MIB
    start, end = MINE + file(b"")[:-2], b"\r\n" + END
    piece = bytes(MIB)
    with owned.client(timeout=60) as client, peak_memory_of(owned.process.pid) as growth:
        told = f"Content-Length: {size + len(start) + len(end)}"
        client.send(request("POST", path, TYPE, as_user(), told) + start)
        for _ in range(size // MIB):
            client.sock.sendall(piece)
        client.sock.sendall(end)
        assert client.read().status == 200
    assert backend.one(path).body.count == size + len(start) + len(end)
    assert growth.added < 16 * MIB, str(growth)


LATE = {
    "multipart, behind a file": (TYPE, MINE + file(bytes(300_000)) + OTHER + END, "/form"),
    "multipart, behind a file, split": (TYPE, MINE + file(b"-" * 299_987) + OTHER + END, "/form"),
    "multipart, behind much text": (TYPE, MINE + field("text", b"x" * 300_000) + OTHER + END, "/form"),
    "multipart, within a second multipart": (TYPE, MINE + file(b"x" * 100_000) + PROJECT + FILE + OTHER + END, "/form"),
    "a form": (URLENCODED, b"user_id=u1&text=" + b"x" * 300_000 + b"&user_id=u2", "/form"),
    "a form, encoded": (URLENCODED, b"user_id=u1&text=" + b"x" * 300_000 + b"&user%5fid=u2", "/form"),
    "JSON": (JSON, b'{"user_id":"u1","text":"' + b"x" * 300_000 + b'","user_id":"u2"}', "/json"),
    "JSON, escaped": (JSON, b'{"user_id":"u1","text":"' + b"x" * 300_000 + b'","user\\u005fid":"u2"}', "/json"),
    "JSON, a second document": (JSON, b'{"user_id":"u1","text":"' + b"x" * 300_000 + b'"}{"user_id":"u2"}', "/json"),
}


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize(("kind", "body", "under"), LATE.values(), ids=LATE)
def test_a_second_owner_far_behind_cuts_the_request_off(
    owned: Gateway, backend: Backend, kind: str, body: bytes, under: str, coding: str
) -> None:
    path = backend.serve(reply(), under)
    head = f"Content-Length: {len(body)}" if coding == "length" else "Transfer-Encoding: chunked"
    sent = body if coding == "length" else chunked(*(body[at : at + 9973] for at in range(0, len(body), 9973)))
    with owned.client() as client:
        client.send(request("POST", path, kind, as_user(), head))
        client.push(sent)
        assert client.read().status in (400, 403, 413)
    eventually(lambda: all(seen.connection.closed for seen in backend.seen(path)), "what was begun is cut off")
    assert not [seen for seen in backend.seen(path) if seen.body.complete]


FAR = {
    "multipart": (TYPE, field("text", b"x" * (READ_AHEAD + 1)) + MINE + END, "/form"),
    "a form": (URLENCODED, b"text=" + b"x" * (READ_AHEAD + 1) + b"&user_id=u1", "/form"),
    "JSON": (JSON, b'{"text":"' + b"x" * (READ_AHEAD + 1) + b'","user_id":"u1"}', "/json"),
}


@pytest.mark.parametrize(("kind", "body", "under"), FAR.values(), ids=FAR)
def test_an_owner_past_the_first_64_kib_is_none(
    owned: Gateway, backend: Backend, kind: str, body: bytes, under: str
) -> None:
    path = backend.serve(reply(), under)
    assert ask(owned, path, body, kind) in (403, 413)
    assert not backend.seen(path)


NEAR = {
    "multipart": (TYPE, field("text", b"x" * 60_000) + MINE + file(bytes(300_000)) + END, "/form"),
    "a form": (URLENCODED, b"user_id=u1&text=" + b"x" * 300_000, "/form"),
    "JSON": (JSON, b'{"user_id":"u1","text":"' + b"x" * 300_000 + b'"}', "/json"),
}


@pytest.mark.parametrize(("kind", "body", "under"), NEAR.values(), ids=NEAR)
def test_a_long_body_whose_owner_stands_in_the_first_64_kib_passes(
    owned: Gateway, backend: Backend, kind: str, body: bytes, under: str
) -> None:
    path = backend.serve(reply(), under)
    assert ask(owned, path, body, kind) == 200
    assert backend.one(path).body.data == body


def test_nothing_goes_upstream_until_the_owner_is_known(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/form")
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), "Content-Length: 500000") + field("text", b"x" * 30_000))
        assert client.silent(0.2)
        assert not backend.seen(path)
        client.send(OTHER + file(b"x" * 40_000))
        assert_refused(client.read(), "forbidden")
    assert not backend.seen(path)


def test_an_upload_of_anothers_is_refused_before_its_files_are_sent(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/form")
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), f"Content-Length: {500 * MIB}") + OTHER + file(b"")[:-2])
        assert_refused(client.read(), "forbidden")
    assert not backend.seen(path)


def test_the_limit_of_the_body_holds_while_it_is_watched(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/small")
    assert_refused(owned.ask(request("POST", path, TYPE, as_user(), f"Content-Length: {257 << 10}")), "body_too_large")
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), "Transfer-Encoding: chunked") + chunked(MINE, end=b""))
        client.push(chunked(file(bytes(300 << 10)) + END))
        assert_refused(client.read(), "body_too_large")
    assert not [seen for seen in backend.seen(path) if seen.body.complete]


def test_an_early_answer_is_read_while_an_upload_is_watched(owned: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def early(peer: Peer) -> None:
        peer.send(reply(413, b'{"detail":"enough"}', "Connection: close"))
        peer.wait(go_on)
        peer.close()

    path = backend.serve(early, "/form")
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), f"Content-Length: {100 * MIB}") + MINE + file(bytes(MIB)))
        answer = client.read()
    go_on.set()
    assert (answer.status, answer.data) == (413, b'{"detail":"enough"}')


def test_a_client_that_leaves_in_the_first_fields_reaches_nobody(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/form")
    with owned.client() as client:
        client.send(request("POST", path, TYPE, as_user(), "Content-Length: 500000") + MINE[:-4])
        assert client.silent(0.1)
    assert owned.send("POST", path, TYPE, as_user(), body=MINE + END).status == 200
    assert len(backend.seen(path)) == 1
