"""The list of an owner's own requests: the newest, some of them perhaps missing.

In Redis, two keys an owner, named by a keyed hash of the owner's channel:

    respond_async:owned:      sorted set of ids by the microsecond of acceptance
    respond_async:asked:      hash of what was asked by id, sealed

The app writes without waiting (see `later`); the worker writes again when it begins a request, so
what the app lost, killed in that moment, is there from then on.
"""

import base64
import binascii
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from redis.client import Pipeline

from respond_async.accepted import FORGOTTEN, key
from respond_async.connections import AppRedis
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError
from respond_async.later import LaterWrites
from respond_async.moments import microseconds_of, moment_of
from respond_async.sealing import Sealer
from respond_async.settings import Settings

State = Literal["pending", "running", "completed"]
STATES: Final[dict[str, State]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
}

# Read at once while looking for what a filter or cursor lets through.
_CHUNK: Final = 100

# KEYS, for each request: owned, asked, notified. ARGV: seconds, how many are kept, what says that it
# was forgotten: that may be sooner than this; then for each request: microseconds, id, what was asked.
_ADD: Final = """
for place = 1, #KEYS, 3 do
  local owned, asked, id = KEYS[place], KEYS[place + 1], ARGV[place + 4]
  if redis.call('get', KEYS[place + 2]) ~= ARGV[3]
      and redis.call('zadd', owned, ARGV[place + 3], id) == 1 then
    redis.call('hset', asked, id, ARGV[place + 5])
    redis.call('expire', owned, ARGV[1])
    redis.call('expire', asked, ARGV[1])
    for _, old in ipairs(redis.call('zrange', owned, 0, -1 - ARGV[2])) do
      redis.call('zrem', owned, old)
      redis.call('hdel', asked, old)
    end
  end
end
"""
# Redis does nothing else while the script runs.
_ADDED_AT_ONCE: Final = 100
_MOST_WAITING: Final = 100_000
_ANNOUNCED_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Owned:
    """One line of the list."""

    task_id: str
    accepted_at: datetime
    method: str
    #: Path and query as requested.
    endpoint: str
    status: State


class OwnedWrites:
    """Adds to lists, from app and worker.

    Args:
        settings: TTL, and how many are kept; 0: nothing is listed.
        later: Carries the writes.
    """

    def __init__(self, settings: Settings, later: LaterWrites) -> None:
        self._ttl: Final = settings.result_ttl_seconds
        self._most: Final = settings.list_max_requests
        self._sealer: Final = Sealer(settings, "listed")
        self._later: Final = later
        self._waiting: Final[deque[CapturedRequest]] = deque(maxlen=_MOST_WAITING)
        self._announced_until = 0.0

    def add(self, request: CapturedRequest) -> None:
        """Lists the request soon; does nothing if it is listed."""
        if not self._most:
            return
        self._waiting.append(request)
        # Read after the append, and cleared before the first `popleft`: none is left lying. Not for
        # ever: a fork, or more writes than wait at most, may have lost the announcement.
        now = time.monotonic()
        if now > self._announced_until:
            self._announced_until = now + _ANNOUNCED_SECONDS
            self._later.put(self._add)

    def _add(self, pipe: Pipeline) -> None:
        self._announced_until = 0.0
        while self._waiting:
            keys: list[str] = []
            args: list[str | int] = [self._ttl, self._most, FORGOTTEN]
            while self._waiting and len(keys) < _ADDED_AT_ONCE * 3:
                request = self._waiting.popleft()
                name = self._sealer.names(request.channel)[0]
                asked = json.dumps([request.method, request.endpoint]).encode()
                keys += [_owned(name), _asked(name), key("notified", request.task_id)]
                args += [
                    microseconds_of(request.accepted_at),
                    request.task_id,
                    self._sealer.seal(asked, request.task_id),
                ]
            pipe.eval(_ADD, len(keys), *keys, *map(str, args))


class OwnedReads:
    """Reads lists, for asyncio."""

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        self._ttl: Final = timedelta(seconds=settings.result_ttl_seconds)
        self._sealer: Final = Sealer(settings, "listed")
        self._redis: Final = connection

    async def page(
        self, channel: str, limit: int, cursor: str | None, status: State | None
    ) -> tuple[list[Owned], str | None]:
        """The newest requests of an owner, and the cursor of those behind them.

        Args:
            channel: The internal name of the owner's channel.
            limit: How many at most.
            cursor: Where an earlier page ended.
            status: Only those.

        Raises:
            ValueError: The cursor is none.
            redis.RedisError: Redis did not answer.
        """
        names = self._sealer.names(channel)
        place = _read_cursor(cursor) if cursor else None
        newest = str(place[0]) if place else "+inf"
        found: list[Owned] = []
        oldest = microseconds_of(datetime.now(UTC) - self._ttl)
        for name in names:
            rows = self._rows(name, newest, oldest)
            found += await self._wanted(name, rows, place, limit, status)
        found.sort(key=lambda one: (one.accepted_at, one.task_id), reverse=True)
        page = found[:limit]
        return page, _cursor(page[-1]) if len(found) > limit else None

    async def endpoint(self, channel: str, task_id: str) -> str:
        """Path and query of a request; "" if it is not listed.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        for name in self._sealer.names(channel):
            client: Any = self._redis.client()
            sealed = await client.hget(_asked(name), task_id)
            if sealed is not None:
                return self._opened(sealed, task_id)[1]
        return ""

    async def forget(self, channel: str, task_id: str) -> None:
        """Takes a request off the list.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for name in self._sealer.names(channel):
                pipe.zrem(_owned(name), task_id)
                pipe.hdel(_asked(name), task_id)
            await pipe.execute()

    async def _rows(
        self, name: str, newest: str, oldest: int
    ) -> AsyncIterator[list[tuple[int, str]]]:
        client: Any = self._redis.client()
        offset = 0
        while rows := await client.zrevrangebyscore(
            _owned(name), newest, oldest, start=offset, num=_CHUNK, withscores=True
        ):
            offset += len(rows)
            yield [(int(score), row.decode()) for row, score in rows]

    async def _wanted(
        self,
        name: str,
        rows: AsyncIterator[list[tuple[int, str]]],
        place: tuple[int, str] | None,
        limit: int,
        status: State | None,
    ) -> list[Owned]:
        found: list[Owned] = []
        async for chunk in rows:
            left = [one for one in chunk if place is None or one < place]
            described = await self._described(name, left)
            found += [one for one in described if status in (None, one.status)]
            # One more than asked for: says whether there is another page.
            if len(found) > limit:
                break
        return found

    async def _described(self, name: str, ids: list[tuple[int, str]]) -> list[Owned]:
        if not ids:
            return []
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.hmget(_asked(name), [task_id for _, task_id in ids])
            for _, task_id in ids:
                pipe.exists(key("notified", task_id))
                pipe.exists(key("running", task_id))
            asked, *exist = await pipe.execute()
        described = []
        for place, (microseconds, task_id) in enumerate(ids):
            method, endpoint = self._opened(asked[place], task_id)
            ended, running = exist[2 * place : 2 * place + 2]
            state: State = "completed" if ended else "running" if running else "pending"
            accepted_at = moment_of(microseconds)
            described.append(Owned(task_id, accepted_at, method, endpoint, state))
        return described

    def _opened(self, sealed: bytes | None, task_id: str) -> tuple[str, str]:
        try:
            text = (sealed or b"").decode("utf-8", "replace")
            method, endpoint = json.loads(self._sealer.open(text, task_id))
        except (EnvelopeError, ValueError, TypeError):
            return "", ""
        return method, endpoint


def _cursor(last: Owned) -> str:
    text = f"{microseconds_of(last.accepted_at)}.{last.task_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.urlsafe_b64decode(padded).decode("ascii")
        microseconds, _, task_id = text.partition(".")
        if not microseconds.isdigit() or len(microseconds) > 17 or not task_id:  # noqa: PLR2004
            raise ValueError("not a cursor")
        return int(microseconds), task_id
    except (binascii.Error, UnicodeError):
        raise ValueError("not a cursor") from None


def _owned(name: str) -> str:
    return f"respond_async:owned:{name}"


def _asked(name: str) -> str:
    return f"respond_async:asked:{name}"
