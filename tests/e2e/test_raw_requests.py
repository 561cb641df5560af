"""Requests byte for byte: what each is answered, whether the connection ends, and what the upstream sees of it.

`PATH` stands for the path of the case. `EVIL` is a path that no case asks for: it stands where a parser that is wrong
about an end would find a second request.
"""

from __future__ import annotations

import pytest

from aiogateway.proxy.parsing import MAX_FIELD, MAX_HEAD, MAX_TARGET

from .harness import Backend, Gateway, reply, request

EVIL = "/b/evil"
SMUGGLED = b"GET /b/evil HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET PATH HTTP/1.1\r\nHost: a\r\n"
POST = b"POST PATH HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = POST + b"Content-Length: "
CODING = POST + b"Transfer-Encoding:"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def at(target: bytes, *fields: bytes) -> bytes:
    """A GET for a target."""
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, *(fields or (b"Host: a",)), b"", b""])


def host(value: bytes) -> bytes:
    return at(b"PATH", b"Host:" + value)


def filled(size: int) -> bytes:
    """A GET whose fields have so many bytes in all."""
    lines = [b"Host: a", *[b"X: " + b"a" * 20_000] * 3]
    left = size - sum(len(line) + 2 for line in lines) - len(b"X: \r\n")
    return at(b"PATH", *lines, b"X: " + b"a" * left)


REFUSED = {
    # Request line (RFC 9112 sections 2 and 3)
    "a space before the method": (b" " + GET + b"\r\n", 400),
    "a tab behind the method": (b"GET\tPATH HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab before the version": (b"GET PATH\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space behind the version": (b"GET PATH HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "words behind the version": (b"GET PATH HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET PATH /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a bare LF behind the request line": (b"GET PATH HTTP/1.1\nHost: a\r\n\r\n", 400),
    "a bare CR behind the request line": (b"GET PATH HTTP/1.1\rHost: a\r\n\r\n", 400),
    "a method in lower case": (b"get PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a method with a NUL": (b"G\0ET PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a long method": (b"A" * 70_000 + b" PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET PATH\r\n\r\n", 505),
    "HTTP/0.9": (b"GET PATH HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET PATH HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/3.0": (b"GET PATH HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.10": (b"GET PATH HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "HTTP/1": (b"GET PATH HTTP/1\r\nHost: a\r\n\r\n", 400),
    "HTTP/01.1": (b"GET PATH HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    "http/1.1": (b"GET PATH http/1.1\r\nHost: a\r\n\r\n", 400),
    "another protocol": (b"GET PATH FTP/1.1\r\nHost: a\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    # Targets (RFC 9112 section 3.2)
    "no slash": (at(b"b"), 400),
    "a query alone": (at(b"?b"), 400),
    "a star for GET": (at(b"*"), 400),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + SMUGGLED, 501),
    "a tunnel to a path": (b"CONNECT PATH HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED, 501),
    "a tunnel to the gateway's own path": (b"CONNECT /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED, 501),
    "another scheme": (at(b"ftp://aPATH"), 400),
    "no authority": (at(b"http://PATH"), 400),
    "one slash": (at(b"http:/aPATH"), 400),
    "a name in the authority": (at(b"http://u:p@aPATH", b"Host: a"), 400),
    "a name in authority and Host": (at(b"http://u@aPATH", b"Host: u@a"), 400),
    "an authority that ends in @": (at(b"http://[::1]:80@PATH"), 400),
    "another authority in HTTP/1.0": (b"GET http://b/..PATH HTTP/1.0\r\nHost: a\r\n\r\n", 400),
    "a malformed authority in HTTP/1.0": (b"GET http://a_:x@bPATH HTTP/1.0\r\n\r\n", 400),
    "a fragment": (at(b"PATH#x"), 400),
    "a fragment in a query": (at(b"PATH?x#y"), 400),
    "a backslash": (at(b"PATH\\x"), 400),
    "an encoded backslash": (at(b"PATH/%5cx"), 400),
    "a NUL": (at(b"PATH\0"), 400),
    "an encoded NUL": (at(b"PATH/%00"), 400),
    "an encoded NUL in the query": (at(b"PATH?x=%00"), 400),
    "a broken escape": (at(b"PATH/%z1"), 400),
    "a broken escape in the query": (at(b"PATH?x=%z1"), 400),
    "half an escape at the query's end": (at(b"PATH?x=%4"), 400),
    "a DEL": (at(b"PATH\x7f"), 400),
    "an escape character in the query": (at(b"PATH?\x1b"), 400),
    "UTF-8 in the path": (at("PATH/é".encode()), 400),
    "UTF-8 in the query": (at("PATH?é".encode()), 400),
    "a long path": (at(b"PATH/" + b"a" * MAX_TARGET), 414),
    "a long query": (at(b"PATH?" + b"a" * MAX_TARGET), 414),
    # Host (RFC 9112 section 3.2, RFC 9110 section 7.2)
    "a list of Hosts": (host(b" a, b"), 400),
    "a Host with a path": (host(b" a/b"), 400),
    "a Host with a query": (host(b" a?b"), 400),
    "a Host with a name": (host(b" u@a"), 400),
    "a Host with a scheme": (host(b" http://a"), 400),
    "a Host with an escape": (host(b" a%2e"), 400),
    "a Host in UTF-8": (host(" é".encode()), 400),
    "a Host with an empty label": (host(b" a..b"), 400),
    "a Host that begins with a hyphen": (host(b" -a"), 400),
    "a long Host": (host(b" " + b"a." * 200), 400),
    "a Host with an empty port": (host(b" a:"), 400),
    "a Host with a word for a port": (host(b" a:b"), 400),
    "a Host with a negative port": (host(b" a:-1"), 400),
    "a Host with port 65536": (host(b" a:65536"), 400),
    "a Host of half an address": (host(b" [::1"), 400),
    "a Host of a bare address": (host(b" ::1"), 400),
    "a Host of no address": (host(b" [::1::2]"), 400),
    "a Host of an IPv4 address in brackets": (host(b" [127.0.0.1]"), 400),
    "a Host with a zone": (host(b" [fe80::1%25eth0]"), 400),
    "a second Host with a space": (at(b"PATH", b"Host: a", b"Host : b"), 400),
    # Fields (RFC 9112 section 5, RFC 9110 section 5)
    "a field before the fields": (GET[:-9] + b" X: 1\r\nHost: a\r\n\r\n", 400),
    "a tab before the colon": (GET + b"X\t: 1\r\n\r\n", 400),
    "a length with a space before the colon": (POST + b"Content-Length : 5\r\n\r\nhello", 400),
    "no name": (GET + b": 1\r\n\r\n", 400),
    "a name in quotes": (GET + b'"X": 1\r\n\r\n', 400),
    "a name with a slash": (GET + b"X/Y: 1\r\n\r\n", 400),
    "a name in UTF-8": (GET + "é: 1\r\n\r\n".encode(), 400),
    "a name with a NUL": (GET + b"X\0: 1\r\n\r\n", 400),
    "a folded line": (GET + b"X: 1\r\n\t2\r\n\r\n", 400),
    "an empty line that is folded": (GET + b"X:\r\n 2\r\n\r\n", 400),
    "a bare CR in a value": (GET + b"X: 1\rY: 2\r\n\r\n", 400),
    "a bare LF in a value": (GET + b"X: 1\nY: 2\r\n\r\n", 400),
    "a CR too many": (GET + b"X: 1\r\r\n\r\n", 400),
    "a bare LF for the empty line": (GET + b"X: 1\r\n\n" + SMUGGLED, 400),
    "a DEL in a value": (GET + b"X: \x7f\r\n\r\n", 400),
    "a bell in a value": (GET + b"X: \x07\r\n\r\n", 400),
    "a vertical tab before a value": (GET + b"X:\x0b1\r\n\r\n", 400),
    "two types": (POST + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n", 400),
    "Connection names the type": (LENGTH + b"2\r\nContent-Type: a/b\r\nConnection: content-TYPE\r\n\r\n{}", 400),
    "Connection names a token": (GET + b"Authorization: x\r\nConnection: close, Authorization\r\n\r\n", 400),
    "Connection names cookies": (GET + b"Connection: x\r\nConnection: cookie\r\n\r\n", 400),
    "101 fields": (GET + b"X: y\r\n" * 100 + b"\r\n", 431),
    "a long value": (GET + b"X: " + b"a" * MAX_FIELD + b"a\r\n\r\n", 431),
    "a long name": (GET + b"X" * MAX_FIELD + b": a\r\n\r\n", 431),
    "fields that are long together": (GET + (b"X: " + b"a" * 20_000 + b"\r\n") * 4 + b"\r\n", 431),
    "fields one byte too long": (filled(MAX_HEAD + 1), 431),
    "a request behind the last one": (GET + b"Connection: keep-alive, close\r\n\r\n" + SMUGGLED, 400),
    "a loop": (GET + b"Via: 1.1 aiogateway, 1.1 aiogateway, 1.1 aiogateway\r\nConnection: close\r\n\r\n", 508),
    "an empty expectation": (LENGTH + b"5\r\nExpect:\r\n\r\nhello", 417),
    "a list of expectations": (LENGTH + b"5\r\nExpect: 100-continue, 100-continue\r\n\r\nhello", 417),
    # Lengths (RFC 9112 section 6.3)
    **{
        f"a length of {text!r}": (LENGTH + text + b"\r\n\r\nhello", 400)
        for text in (b"", b"+5", b"-5", b"5,5", b"5, 5", b"5 5", b"0x5", b"5.0", b"5;", b"5e0", b"1_0", b"\xd9\xa5")
    },
    "a length of 2**64": (LENGTH + b"18446744073709551616\r\n\r\n" + SMUGGLED, 400),
    "a length of 2**64 - 1": (LENGTH + b"18446744073709551615\r\n\r\n" + SMUGGLED, 400),
    "a length of many zeros": (LENGTH + b"0" * 5000 + b"5\r\n\r\nhello", 400),
    "two lengths": (LENGTH + b"5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "two lengths that differ": (LENGTH + b"5\r\ncontent-length: 6\r\n\r\nhello", 400),
    "a length, then chunks": (LENGTH + b"5\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO, 400),
    "chunks, then a length": (CODING + b" chunked\r\nContent-Length: 5\r\n\r\n" + HELLO, 400),
    # Transfer codings (RFC 9112 section 6.1)
    **{
        f"a coding of {text!r}": (CODING + text + b"\r\n\r\n" + HELLO + SMUGGLED, status)
        for text, status in (
            (b" xchunked", 501),
            (b" chunkedx", 501),
            (b" gzip", 501),
            (b" identity", 501),
            (b" gzip, chunked", 501),
            (b" identity, chunked", 501),
            (b" ,chunked", 501),
            (b" chunked;q=1", 501),
            (b' "chunked"', 501),
            (b"", 400),
            (b" chunked, identity", 400),
            (b" chunked, chunked", 400),
            (b" chunked,", 400),
            (b" chunked\0", 400),
            (b" \x0bchunked", 400),
            (b" chunked\r\n\t", 400),
            (b" chunked\r\nTransfer-Encoding: identity", 400),
            (b" identity\r\nTransfer-Encoding: chunked", 400),
        )
    },
    "a coding with a space before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n" + HELLO, 400),
    "a coding with a tab in its name": (POST + b"Transfer-Encoding\x0b: chunked\r\n\r\n" + HELLO, 400),
    "chunks in HTTP/1.0": (b"POST PATH HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO, 400),
    # Chunks (RFC 9112 section 7)
    **{
        f"a chunk that begins {text!r}": (CHUNKED + text + b"hello\r\n0\r\n\r\n" + SMUGGLED, 400)
        for text in (
            b"-5\r\n",
            b"+5\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"5\t\r\n",
            b"5,5\r\n",
            b"g\r\n",
            b"\r\n",
            b"5\n",
            b"5\r",
            b"10000000000000005\r\n",
            b"5;\r\n",
            b"5;a\n",
            b"5;a\rb\r\n",
            b'5;a="\r\n',
            b"5;\0\r\n",
            b"5 ;a=b\r\n",
        )
    },
    "a chunk without its end": (CHUNKED + b"5\r\nhello0\r\n\r\n", 400),
    "a chunk that ends in a bare LF": (CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    "a chunk that is longer than it says": (CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", 400),
    "chunks that end in bare LFs": (CHUNKED + b"5\r\nhello\r\n0\n\n" + SMUGGLED, 400),
    "a trailer that is a length": (CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
    "a trailer that is a coding": (CHUNKED + b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a trailer that is a Host": (CHUNKED + b"5\r\nhello\r\n0\r\nHost: b\r\nX: y\r\n\r\n", 400),
    "a folded trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n", 400),
    "a trailer that is a request": (CHUNKED + b"5\r\nhello\r\n0\r\n" + SMUGGLED, 400),
    "many trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
}
"""What is refused, with its status: nothing of it goes upstream, and the connection ends."""


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_and_nothing_goes_upstream(gateway: Gateway, backend: Backend, raw: bytes, status: int) -> None:
    before = len(backend.requests)
    path = backend.serve(reply())
    with gateway.client() as client:
        client.push(raw.replace(b"PATH", path.encode()))
        answer = client.read()
        assert (answer.status, answer.value("connection")) == (status, "close")
        assert answer.json()["request_id"] == answer.value("x-request-id")
        assert EVIL.encode() not in answer.data and path.encode() not in answer.data
        assert client.hung_up()
    assert backend.requests[before:] == []


Seen = list[tuple[str, bytes]]
ONE: Seen = [("GET PATH", b"")]
POSTED: Seen = [("POST PATH", b"hello")]
KEPT, CLOSED = True, False
TAKEN: dict[str, tuple[bytes, list[int], bool, Seen]] = {
    "a plain request": (GET + b"\r\n", [200], KEPT, ONE),
    "an empty line before it": (b"\r\n" + GET + b"\r\n", [200], KEPT, ONE),
    "two spaces in the request line": (b"GET  PATH  HTTP/1.1\r\nHost: a\r\n\r\n", [200], KEPT, ONE),
    "HTTP/1.0": (b"GET PATH HTTP/1.0\r\n\r\n", [200], CLOSED, ONE),
    "HTTP/1.0, kept": (b"GET PATH HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200], KEPT, ONE),
    "HTTP/1.0, kept and closed": (
        b"GET PATH HTTP/1.0\r\nConnection: keep-alive\r\nConnection: x, Close\r\n\r\n" + SMUGGLED,
        [200],
        CLOSED,
        ONE,
    ),
    "absolute form": (at(b"http://aPATH", b"Host: a"), [200], KEPT, ONE),
    "absolute form in capitals": (at(b"HTTP://A:80PATH", b"Host: a:80"), [200], KEPT, ONE),
    "absolute form of https": (at(b"https://aPATH", b"Host: a"), [200], KEPT, ONE),
    "absolute form in HTTP/1.0": (b"GET http://aPATH HTTP/1.0\r\n\r\n", [200], CLOSED, ONE),
    "a query with odd characters": (
        at(b"PATH?a=b;c&d='\"<>[]{}|\\^`"),
        [200],
        KEPT,
        [("GET PATH?a=b;c&d='\"<>[]{}|\\^`", b"")],
    ),
    "a query with two marks": (at(b"PATH??a?/../b"), [200], KEPT, [("GET PATH??a?/../b", b"")]),
    "an IPv6 Host": (host(b" [::1]:8000"), [200], KEPT, ONE),
    "a Host with port 65535": (host(b" a.b:65535"), [200], KEPT, ONE),
    "a Host with spaces around": (host(b"\t a \t"), [200], KEPT, ONE),
    "a star for OPTIONS": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [400], CLOSED, []),
    "OPTIONS": (b"OPTIONS PATH HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", [405], KEPT, []),
    "TRACE": (b"TRACE PATH HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n", [405], KEPT, []),
    "a method no route has": (b"PROPFIND PATH HTTP/1.1\r\nHost: a\r\n\r\n", [405], KEPT, []),
    "100 fields": (GET + b"X: y\r\n" * 99 + b"\r\n", [200], KEPT, ONE),
    "fields of the most bytes": (filled(MAX_HEAD), [200], KEPT, ONE),
    "a length with zeros": (LENGTH + b"0005\r\n\r\nhello", [200], KEPT, POSTED),
    "a length with spaces around": (LENGTH + b"\t 5 \t\r\n\r\nhello", [200], KEPT, POSTED),
    "a length that is too short": (LENGTH + b"5\r\n\r\nhello, world\r\n\r\n", [400], CLOSED, []),
    "a body of GET": (GET + b"Content-Length: 33\r\n\r\n" + SMUGGLED, [200], KEPT, [("GET PATH", SMUGGLED)]),
    "a body of DELETE in chunks": (
        b"DELETE PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO,
        [200],
        KEPT,
        [("DELETE PATH", b"hello")],
    ),
    "chunks": (CHUNKED + HELLO, [200], KEPT, POSTED),
    "chunks in capitals": (CODING + b"\tCHUNKED \r\n\r\n" + HELLO, [200], KEPT, POSTED),
    "no chunks": (CHUNKED + b"0\r\n\r\n", [200], KEPT, [("POST PATH", b"")]),
    "a chunk size with zeros": (CHUNKED + b"0" * 100 + b"5\r\nhello\r\n000\r\n\r\n", [200], KEPT, POSTED),
    "chunks with extensions": (CHUNKED + b'5;a;b=c;d="e;\\"f"\r\nhello\r\n0;g=h\r\n\r\n', [200], KEPT, POSTED),
    "chunks with a long extension": (CHUNKED + b"5;" + b"a" * 9000 + b"\r\nhello\r\n0\r\n\r\n", [200], KEPT, POSTED),
    "trailers, which are dropped": (
        CHUNKED + b"5\r\nhello\r\n0\r\nAuthorization: x\r\nX-User-Id: root\r\n\r\n",
        [200],
        KEPT,
        POSTED,
    ),
    "two requests": (GET + b"\r\n" + GET + b"\r\n", [200, 200], KEPT, ONE + ONE),
    "a request behind a length": (LENGTH + b"5\r\n\r\nhello" + GET + b"\r\n", [200, 200], KEPT, POSTED + ONE),
    "a request behind chunks": (CHUNKED + HELLO + SMUGGLED, [200], CLOSED, POSTED),
    "a request behind trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + SMUGGLED, [200], CLOSED, POSTED),
    "a request behind an upgrade": (
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + SMUGGLED,
        [200],
        CLOSED,
        ONE,
    ),
    "a request behind an upgrade to HTTP/2": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n" + SMUGGLED,
        [200],
        CLOSED,
        ONE,
    ),
    "a body behind an upgrade": (
        LENGTH + b"5\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello" + SMUGGLED,
        [200],
        CLOSED,
        POSTED,
    ),
    "an upgrade alone": (GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", [200], KEPT, ONE),
    "an upgrade that Connection doesn't name": (GET + b"Upgrade: websocket\r\n\r\n", [200], KEPT, ONE),
    "Connection names a field of its own": (GET + b"Connection: x-own\r\nX-Own: 1\r\n\r\n", [200], KEPT, ONE),
    "an expectation": (LENGTH + b"5\r\nExpect: 100-CONTINUE\r\n\r\nhello", [200], KEPT, POSTED),
    "an expectation without a body": (GET + b"Expect: 100-continue\r\n\r\n", [200], KEPT, ONE),
    "an expectation of HTTP/1.0": (
        b"POST PATH HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        [200],
        CLOSED,
        POSTED,
    ),
    "a loop that isn't yet": (GET + b"Via: 1.1 aiogateway, 1.0 b\r\nVia: 1.1 aiogateway\r\n\r\n", [200], KEPT, ONE),
}
"""What is understood: the statuses of its answers, whether the connection goes on, and what the upstream sees."""


@pytest.mark.parametrize(("raw", "statuses", "kept", "seen"), TAKEN.values(), ids=TAKEN)
def test_the_upstream_sees_what_the_client_clearly_asked_for(
    gateway: Gateway, backend: Backend, raw: bytes, statuses: list[int], kept: bool, seen: Seen
) -> None:
    before = len(backend.requests)
    path = backend.serve(reply(body=b""))
    with gateway.client() as client:
        client.push(raw.replace(b"PATH", path.encode()))
        assert [client.read().status for _ in statuses] == statuses
        if kept:  # and nothing is left over that would be taken for a request
            assert client.ask(request("GET", "/healthz")).json() == {"status": "ok"}
        else:
            assert client.hung_up()
    found = backend.requests[before:]
    assert [(f"{each.method} {each.target.replace(path, 'PATH')}", each.body.data) for each in found] == seen
    hosts = {value for each in found for value in each.values("host")}
    assert hosts <= {f"127.0.0.1:{backend.port}"}
    assert not any({"x-user-id", "x-own", "upgrade", "trailer", "expect"} & each.names for each in found)
