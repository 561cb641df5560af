"""Answers in Redis are forgotten: by key, path or tag. A server that fails on the way keeps some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiogateway.caching import heads
from aiogateway.caching import redis_keys as keys
from aiogateway.caching.redis_server import READ, WRITE, Server

# Keys that are forgotten at a time.
_BATCH: Final = 100
_NOTHING: Final[Mapping[bytes, Sequence[bytes]]] = {}


class Purging:
    """:param server: closed by whoever made it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def path(self, pattern: bytes) -> bool:
        """Forget what is under a path; whether that went well."""
        wild = pattern.endswith(b"*")
        glob = b"?" * 32 + b":" + keys.literally(pattern.removesuffix(b"*")) + b"*" * wild
        cursor = 0
        while True:
            looked = await self._server.ask(READ, partial(_scanned, cursor=cursor, glob=glob), None)
            if looked is None or not await self.forget(looked[1]):
                return False
            cursor = looked[0]
            if not cursor:
                return True

    async def tag(self, tag: str) -> bool:
        """Forget what has a tag, and what else its keys have; whether that went well."""

        index = keys.tag(tag)

        async def work(client: Any) -> tuple[list[bytes], set[bytes]]:
            found = list(await client.zrange(index, 0, _BATCH - 1))
            return found, keys.names_in(found)

        while True:
            looked = await self._server.ask(READ, work, None)
            if looked is None:
                return False
            if not looked[0]:
                return True
            if not await self.forget(looked[1], {index: looked[0]}):
                return False

    async def forget(self, names: Collection[bytes], members: Mapping[bytes, Sequence[bytes]] = _NOTHING) -> bool:
        """Forget some keys, at best all; whether that went well.

        :param members: what indexes are to lose too.
        """
        ordered = list(names)

        async def work(client: Any) -> bool:
            async with client.pipeline(transaction=False) as pipe:
                for name in some:
                    pipe.hvals(keys.uri(name))
                values = await pipe.execute()
            known = [entry for each in values for entry in map(heads.read, each) if entry is not None]
            async with client.pipeline() as pipe:
                if some:
                    pipe.unlink(*map(keys.uri, some), *map(keys.body, known))
                for index, lost in members.items():
                    pipe.zrem(index, *lost)
                await pipe.execute()
            return True

        for start in range(0, len(ordered) or bool(members), _BATCH):
            some = ordered[start : start + _BATCH]
            if not await self._server.ask(WRITE, work, False):
                return False
        return True


async def _scanned(client: Any, *, cursor: int, glob: bytes) -> tuple[int, set[bytes]]:
    """Where to look next, 0 for nowhere, and names of keys whose paths fit."""
    following, found = await client.zscan(keys.PATHS, cursor, match=glob, count=_BATCH)
    return int(following), keys.names_in(member for member, _ in found)
