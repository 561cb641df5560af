"""The pages of one table, made when somebody asks, and their way to the public listener's clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp.hdrs import ACCEPT_ENCODING, IF_NONE_MATCH

from aiogateway.apidocs.pages import PATHS, SLASH, Answer, Page, pages, redirect
from aiogateway.proxy.headers import date_line
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response, status_line
from aiogateway.routes import Table
from aiogateway.settings import Settings


class Docs:
    """The pages that show a table.

    :param version: the gateway's.
    :param try_it_out: whether the requests that the page shows can be sent to where it came from: on the public
        listener they can, the admin listener doesn't take them.
    """

    def __init__(self, table: Table, settings: Settings, version: str, *, try_it_out: bool = False) -> None:
        self._table = table
        self._settings = settings
        self._version = version
        self._try_it_out = try_it_out
        self._pages: Mapping[str, Page] | None = None
        self._making = asyncio.Lock()

    async def answer(self, path: str, accept_encoding: str, if_none_match: str) -> Answer:
        """What is at a path of `PATHS`.

        :raises KeyError: another path.
        """
        if path == SLASH[0]:
            return redirect()
        found = self._pages or await self._make()
        return found[path].answer(accept_encoding, if_none_match)

    async def _make(self) -> Mapping[str, Page]:
        """Packing them takes too long for the loop."""
        async with self._making:
            if self._pages is None:
                self._pages = await asyncio.to_thread(
                    pages, self._table, self._settings, self._version, try_it_out=self._try_it_out
                )
            return self._pages


class NotModified(Response):
    """A 304: its length would be that of the body it spares (RFC 9110 section 8.6)."""

    __slots__ = ()

    def head(self, ending: bytes) -> bytes:
        return b"%b%b\r\n%b" % (status_line(self.status), b"\r\n".join(self.lines), ending)


def handlers(docs: Docs) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """The pages as paths that the public listener answers itself."""

    async def answer(request: Request) -> Response:
        codings = ",".join(request.headers.getall(ACCEPT_ENCODING, ()))
        held = ",".join(request.headers.getall(IF_NONE_MATCH, ()))
        status, fields, body = await docs.answer(request.path, codings, held)
        lines = [date_line(), *(f"{name}: {value}".encode() for name, value in fields)]
        made = NotModified if status == 304 else Response
        return made(status, lines, body, close=not request.content.is_eof())

    return dict.fromkeys(PATHS, answer)
