"""One look at a form for all guards that want something of it, before anything goes upstream.

Rules: what can be read in two ways is refused. Where only the owner is wanted, a body is looked at as far as its first
file, and the rest is watched as it streams by: a field that comes again there would be another one to the service.
Other guards take small forms only, whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_TYPE

from aiogateway.errors import Problem
from aiogateway.forms import MalformedForm, Scanner, UnsupportedForm, scanner
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.body import SMALL_BODY, Bodies
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

AMBIGUOUS: Final = "the body is no form that can be read in one way only"


def form(inner: Handler, wanted: Collection[str], bodies: Bodies, *, whole: bool, lenient: bool) -> Handler:
    """Read fields of the body into `request.fields`.

    :param wanted: fields as route files name them: `form:user_id`, `json:email`.
    :param whole: whether the body must be small and at hand as a whole.
    :param lenient: whether a body that can't be read has no fields, instead of being refused.
    :raises Problem: `unsupported_form`, `bad_request`, `body_too_large`, and as `RequestBody.read`.
    """

    async def answer(request: Request) -> Response:
        if not request.has_body:
            request.fields = dict.fromkeys(wanted, ())
            return await inner(request)
        look = Look(request, wanted, late=whole)
        if look.fault is not None and not lenient:
            raise look.fault
        if whole:
            look.feed(await bodies.receive_whole(request))
        else:
            await bodies.receive_head(request, look.feed)
        if request.rest is None:
            look.finish()
        if not lenient:
            if look.fault is not None:
                raise look.fault
            if request.rest is not None:
                request.rest.watch = look.watch
        request.fields = look.values()
        return await inner(request)

    return answer


def too_late() -> Problem:
    """What is told of a field that stands where it wasn't looked for: a service would find it nevertheless."""
    return Problem("forbidden", "the field that says whose request this is stands too late, or twice")


class Look:
    """What is seen of one request's body.

    :param late: whether a field may stand behind a file, and past `SMALL_BODY` bytes.
    :ivar fault: why it can't be read; None while it can.
    """

    def __init__(self, request: Request, wanted: Collection[str], *, late: bool) -> None:
        self._late = late
        self._seen = 0
        self.fault: Problem | None = None
        self._wanted = wanted
        self._scanners: list[Scanner] = []
        types = request.headers.getall(CONTENT_TYPE, ())
        codings = request.headers.getall(CONTENT_ENCODING, ())
        with self._faults():
            for name in wanted:
                kind, _, field = name.partition(":")
                self._scanners.append(scanner(kind, field, types, codings))

    def feed(self, data: bytes) -> bool:
        """Look at more; whether more would change nothing before the first file."""
        if self.fault is None:
            with self._faults():
                room = len(data) if self._late else max(SMALL_BODY - self._seen, 0)
                self._seen += len(data)
                self._show(data[:room])
                before = self._counts()
                self._show(data[room:])
                if before != self._counts():
                    self.fault = too_late()
        return self.fault is not None or all(each.settled for each in self._scanners)

    def finish(self) -> None:
        """The body ended."""
        if self.fault is None:
            with self._faults():
                before = self._counts()
                for each in self._scanners:
                    each.finish()
                if self._seen > SMALL_BODY and not self._late and before != self._counts():
                    self.fault = too_late()

    def values(self) -> Mapping[str, Sequence[bytes]]:
        """What stands in each field so far; nothing in a body that can't be read."""
        if self.fault is not None:
            return dict.fromkeys(self._wanted, ())
        return {name: tuple(each.values) for name, each in zip(self._wanted, self._scanners, strict=True)}

    def watch(self, data: bytes) -> None:
        """Look at what streams by; at nothing, when the body ended.

        :raises Problem: `forbidden` for a field that comes now, `bad_request`.
        """
        before = self._counts()
        if data:
            self.feed(data)
        else:
            self.finish()
        if self.fault is None and before != self._counts():
            self.fault = too_late()
        if self.fault is not None:
            raise self.fault

    def _show(self, data: bytes) -> None:
        for each in self._scanners:
            each.feed(data)
        if not self._late and any(each.late for each in self._scanners):
            self.fault = too_late()

    def _counts(self) -> list[int]:
        return [len(each.values) for each in self._scanners]

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except UnsupportedForm:
            self.fault = Problem("unsupported_form")
        except MalformedForm:
            self.fault = Problem("bad_request", AMBIGUOUS)
