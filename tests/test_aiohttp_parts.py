"""The half-public parts of aiohttp that the listener and the upstreams' connections stand on.

When one of these fails after an upgrade, aiohttp moved a piece: the message says which. Read the modules that are
named in `STANDING`, put them on the new piece, and widen the range in setup.cfg only then.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import http_parser, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo
from aiohttp_cors.preflight_handler import _PreflightHandler
from yarl import URL

from aiogateway.deadlines import Deadlines
from aiogateway.overload import Door
from aiogateway.proxy.listener import Server
from aiogateway.upstreams.connector import open_session
from aiogateway.upstreams.protocol import UpstreamProtocol
from tests.proxy.served import Watching, answer_unparsed, echo, refuse

PACKAGE: Final = Path(__file__).resolve().parent.parent / "aiogateway"
STANDING: Final = (
    "proxy/connection.py",
    "proxy/listener.py",
    "proxy/receiving.py",
    "streams.py",
    "upstreams/connection.py",
    "upstreams/connector.py",
    "upstreams/protocol.py",
)

# Attributes of instances and classes, by the class that they are aiohttp's of.
PARTS: Final[dict[type, str]] = {
    RequestHandler: """
        _buffer_paused _close _current_request _drain_helper _force_close _handler_waiter _keepalive_handle
        _keepalive_timeout _loop _manager _message_tail _messages _msg_queue_resume_size _next_keepalive_close_time
        _parser _pause_reading_for_buffer _process_keepalive _reading_paused _request_in_progress
        _resume_reading_if_drained _upgraded _waiter
        close connection_lost connection_made data_received finish_response force_close handle_error resume_reading
        start transport writing_paused""",
    web.Server: "_connections _kwargs _loop connections pre_shutdown request_handler",
    ResponseHandler: """
        _buffer _drain_helper _eof _exception _loop _parser _payload _reading_paused _should_close _skip_payload _tail
        _upgraded abort close connection_lost data_received feed_data force_close read resume_reading set_exception
        set_response_params should_close transport writing_paused""",
    BaseConnector: "_factory connect",
    Connection: "close protocol",
    StreamReader: """
        _buffer _buffer_offset _eof _exception _size at_eof exception feed_data feed_eof is_eof read_nowait readany
        set_exception total_bytes""",
    HttpRequestParser: "feed_data message_consumed pause_reading",
    _ErrInfo: "exc",
}
PARAMETERS: Final[list[tuple[Callable[..., object], str]]] = [
    (
        ResponseHandler.set_response_params,
        "timer skip_payload read_until_eof auto_decompress read_bufsize max_line_size max_field_size max_headers",
    ),
    (ResponseHandler.__init__, "loop"),
    (
        RequestHandler.__init__,
        """loop keepalive_timeout access_log max_line_size max_field_size max_headers lingering_time read_bufsize
        auto_decompress""",
    ),
    (RequestHandler.resume_reading, "resume_parser"),
    (RequestHandler.handle_error, "request status exc message"),
    (web.Server.__init__, "handler handler_cancellation"),
    (ClientRequest.__init__, "method url loop session ssl server_hostname"),
]
FIELDS: Final = [
    (RawRequestMessage, "method path version headers raw_headers should_close upgrade chunked"),
    (RawResponseMessage, "version code headers raw_headers should_close chunked"),
]


async def instances() -> dict[type, object]:
    """One of each class in `PARTS`, as our modules make them."""
    loop = asyncio.get_running_loop()
    server = make_server()
    connection = server()
    session = open_session()
    try:
        connector = session.connector
        assert connector is not None
        key = ClientRequest("GET", URL("http://a/"), loop=loop, session=session)
        upstream = UpstreamProtocol(loop)
        lent = Connection(connector, key.connection_key, upstream, loop)
        lent.close()
        return {
            RequestHandler: connection,
            web.Server: server,
            ResponseHandler: upstream,
            BaseConnector: connector,
            Connection: lent,
            StreamReader: StreamReader(BaseProtocol(loop), 1, loop=loop),
            HttpRequestParser: connection._parser,
            _ErrInfo: _ErrInfo(400, ValueError(), ""),
            web.ServerRunner: web.ServerRunner(server),
        }
    finally:
        await session.close()


def make_server() -> Server:
    return Server(
        echo,
        observer=Watching(),
        answer_unparsed=answer_unparsed,
        refuse=refuse,
        deadlines=Deadlines(asyncio.get_running_loop().time),
        header_timeout=10.0,
        keepalive_timeout=75.0,
        download_min_rate=0,
        trusted=(),
        door=Door(1, 0),
    )


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
async def test_every_piece_that_we_stand_on_is_where_it_was(kind: type) -> None:
    instance = (await instances())[kind]
    assert isinstance(instance, kind)
    moved = [name for name in PARTS[kind].split() if not hasattr(instance, name)]
    assert not moved, f"aiohttp {aiohttp.__version__} moved {', '.join(moved)} of {kind.__name__}; see {STANDING}"


@pytest.mark.parametrize(("function", "names"), PARAMETERS, ids=[each.__qualname__ for each, _ in PARAMETERS])
def test_every_parameter_that_we_give_is_taken(function: Callable[..., object], names: str) -> None:
    parameters = inspect.signature(function).parameters
    gone = [name for name in names.split() if name not in parameters]
    assert not gone, f"{function.__qualname__} of aiohttp {aiohttp.__version__} takes no {', '.join(gone)}"


@pytest.mark.parametrize(("kind", "names"), FIELDS, ids=[kind.__name__ for kind, _ in FIELDS])
def test_every_field_of_a_parsed_head_is_there(kind: type, names: str) -> None:
    gone = [name for name in names.split() if not hasattr(kind, name)]
    assert not gone, f"{kind.__name__} of aiohttp {aiohttp.__version__} has no {', '.join(gone)}"


def tree_of(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def own_names(tree: ast.Module) -> Iterator[str]:
    """What the classes of a module declare in `__slots__`, define, or assign where they have no base."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
                    yield from ast.literal_eval(statement.value)
                if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield statement.name
                    if not any(isinstance(base, ast.Name) for base in node.bases):
                        yield from filter(None, map(assigned, ast.walk(statement)))


def assigned(node: ast.AST) -> str:
    """The attribute of `self` that a node assigns, or nothing."""
    return node.attr if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else ""


@pytest.mark.parametrize("name", STANDING)
def test_every_private_piece_that_is_used_is_in_the_table(name: str) -> None:
    known = {part for text in PARTS.values() for part in text.split()}
    own = {each for module in STANDING for each in own_names(tree_of(module))}
    used = {node.attr for node in ast.walk(tree_of(name)) if isinstance(node, ast.Attribute)}
    missing = {each for each in used - own - known if each.startswith("_") and not each.startswith("__")}
    assert not missing, f"{name} stands on {', '.join(sorted(missing))} too: name it in PARTS"


def test_the_parsers_are_those_in_c() -> None:
    message = "aiohttp's C extensions are missing: the gateway refuses to start without them"
    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy, message
    assert http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy, message


def test_what_stands_for_an_unreadable_request_has_what_a_request_needs() -> None:
    assert (ERROR.path, ERROR.should_close, tuple(ERROR.version)) == ("/", True, (1, 0))
    assert ERROR.headers.get("Host") is None


def test_a_line_that_is_too_long_says_which_limit_it_passed() -> None:
    assert LineTooLong(b"GET /aaa", 16384).args[1] == 16384, "parsing.unparsed tells targets from fields by it"


async def test_one_parser_reads_any_number_of_answers() -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    for number in range(3):
        for framing in (b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"):
            protocol.data_received(b"HTTP/1.1 20%d OK\r\n" % number + framing)
            message, payload = await protocol.read()
            assert (message.code, payload.read_nowait(), payload.is_eof()) == (200 + number, b"ok", True), (
                "a parser of aiohttp reads only one answer now: upstreams.connection must make one for each"
            )
            assert not protocol.should_close


async def test_reading_resumes_only_where_it_was_paused() -> None:
    """Both protocols skip `resume_reading` unless `_reading_paused`, which must say just that."""
    client, upstream = make_server()(), UpstreamProtocol(asyncio.get_running_loop())
    upstream.set_response_params()
    client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    for protocol in (client, upstream):
        told = [protocol._reading_paused]
        protocol.pause_reading()
        told.append(protocol._reading_paused)
        protocol.resume_reading(False)
        told.append(protocol._reading_paused)
        assert told == [False, True, False], "aiohttp keeps elsewhere whether reading is paused"


async def test_a_short_buffer_asks_to_resume_what_was_never_paused() -> None:
    """Once this fails, aiohttp asks only when it must, and our own `resume_reading` can go."""
    asked: list[bool] = []

    class Asked(BaseProtocol):
        def resume_reading(self, resume_parser: bool = True) -> None:
            asked.append(resume_parser)

    loop = asyncio.get_running_loop()
    reader = StreamReader(Asked(loop), 2**16, loop=loop)
    reader.feed_data(b"abc")
    assert reader.read_nowait() == b"abc"
    assert asked


async def test_the_connector_makes_our_protocol() -> None:
    async with open_session() as session:
        connector = session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert isinstance(connector._factory(), UpstreamProtocol)


def test_nothing_is_the_empty_payload_but_the_empty_payload() -> None:
    assert EMPTY_PAYLOAD.is_eof() and EMPTY_PAYLOAD.exception() is None and EMPTY_PAYLOAD.total_bytes == 0


def test_aiohttp_cors_still_judges_preflights_where_we_hook_in() -> None:
    for name in ("_get_config", "_parse_request_headers", "_preflight_handler"):
        assert callable(getattr(_PreflightHandler, name, None)), f"aiohttp_cors moved {name}: see middlewares/cors.py"
