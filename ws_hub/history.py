"""What was published to a channel, kept for those who were away.

A channel has a stream with its last messages and a hash with what outlives them: the epoch `e`,
the last offset `o`, and `a`, the offset up to which a client said it has seen. Numbering, keeping
and publishing are one script, so a message is either all of that or nothing, and Redis' order of
messages is the order of their offsets. (The scheme is that of Centrifugo's Redis engine.)
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_hub.errors import BadMessage
from ws_hub.lua import Asynchronous, Script
from ws_hub.positions import Position
from ws_hub.protocol import encode, redis_channel
from ws_hub.published import from_history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_hub.published import Published

# Longer than any history: who comes back after their messages are gone is told so by an offset,
# and not taken for a stranger.
_META_SECONDS: Final = 86_400
# As far back a message is looked for that a client of Redis sends again, its answer lost.
_REPEATS: Final = 16
_PAGE: Final = 64


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much of a channel is kept."""

    #: The newest messages of a channel.
    messages: int = 256
    #: How long after a channel's last message.
    seconds: int = 3600


#: Lua for a script of one's own, in front of it: `ws_hub_publish(k, a)` numbers, keeps and
#: publishes one message, whose `Publication.keys` begin at KEYS[k] and `args` at ARGV[a]. Gives
#: how many hubs took it. Called again with the same arguments it does nothing and gives 0.
PUBLISH_LUA: Final = """
local function ws_hub_publish(k, a)
  local stream, meta = KEYS[k], KEYS[k + 1]
  local message, once, epoch = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local known = redis.call('hget', meta, 'e')
  if known then
    epoch = known
    local last = redis.call('xrevrange', stream, '+', '-', 'COUNT', REPEATS)
    for _, entry in ipairs(last) do
      if entry[2][2] == once then return 0 end
    end
  else
    redis.call('del', stream)
    redis.call('hset', meta, 'e', epoch)
  end
  local offset = redis.call('hincrby', meta, 'o', 1)
  redis.call('expire', meta, ARGV[a + 6])
  redis.call('xadd', stream, 'MAXLEN', ARGV[a + 4], offset .. '-0', 'k', once, 'm', message)
  redis.call('expire', stream, ARGV[a + 5])
  return redis.call(ARGV[a + 7], ARGV[a], epoch .. '.' .. offset .. ' ' .. message)
end
""".replace("REPEATS", str(_REPEATS))

PUBLISH: Final = Script(PUBLISH_LUA + "return ws_hub_publish(1, 1)\n")

# KEYS: stream, meta. ARGV: epoch if there is none, seconds of the meta, epoch and offset of the
# first message wanted ('' for none), how many. An epoch of its own: everything is wanted.
_READ: Final = Script("""
local epoch = redis.call('hget', KEYS[2], 'e')
if not epoch then
  epoch = ARGV[1]
  redis.call('del', KEYS[1])
  redis.call('hset', KEYS[2], 'e', epoch, 'o', 0)
end
redis.call('expire', KEYS[2], ARGV[2])
local entries = {}
if ARGV[3] ~= '' then
  local first = '-'
  if ARGV[3] == epoch then first = ARGV[4] end
  entries = redis.call('xrange', KEYS[1], first, '+', 'COUNT', ARGV[5])
end
local meta = redis.call('hmget', KEYS[2], 'o', 'a')
return {epoch, meta[1] or '0', meta[2] or '', entries}
""")

# KEYS: meta. ARGV: epoch, offset. What was seen only grows.
_ACK: Final = Script("""
local meta = redis.call('hmget', KEYS[1], 'e', 'o', 'a')
local offset = tonumber(ARGV[2])
if meta[1] == ARGV[1] and offset <= tonumber(meta[2] or '0')
    and offset > tonumber(meta[3] or '-1') then
  redis.call('hset', KEYS[1], 'a', ARGV[2])
end
return 1
""")


class Publication(NamedTuple):
    """One message, as keys and arguments of a script that has `PUBLISH_LUA` in it.

    In a Redis Cluster the keys and the channel are in one slot; the script's other keys must be
    in it too.
    """

    keys: tuple[str, str]
    args: tuple[str | int, ...]


def publication(
    channel: str,
    message: Mapping[str, Any],
    *,
    limits: HistoryLimits | None = None,
    once: str | None = None,
    sharded: bool = False,
) -> Publication:
    """What publishes `message`.

    Args:
        channel: The internal name, from `user_channel` or `anonymous_channel`.
        message: For instance `completed(task_id)`.
        limits: How much history is kept. Default: `HistoryLimits()`.
        once: A name of this message: published again soon after, it is not published twice.
            Default: one for this publication alone.
        sharded: It is published within its shard of a Redis Cluster (SPUBLISH, Redis 7).
    """
    limits = limits or HistoryLimits()
    return Publication(
        history_keys(channel),
        (
            redis_channel(channel),
            encode(message),
            once or secrets.token_urlsafe(9),
            new_epoch(),
            limits.messages,
            limits.seconds,
            meta_seconds(limits),
            "spublish" if sharded else "publish",
        ),
    )


def history_keys(channel: str) -> tuple[str, str]:
    """The channel's stream and hash; in the slot of its Redis channel."""
    tag = "{" + redis_channel(channel) + "}"
    return tag + ":history", tag + ":meta"


def new_epoch() -> str:
    """For a history that begins."""
    return secrets.token_urlsafe(6)


def meta_seconds(limits: HistoryLimits) -> int:
    """How long a channel's epoch and offset are known after its last use."""
    return max(_META_SECONDS, 2 * limits.seconds)


class Page(NamedTuple):
    """Some of a channel's history."""

    #: Where the channel stands.
    top: Position
    #: How far some client said it has seen.
    seen: Position | None
    #: Oldest first.
    messages: list[Published]
    #: Whether messages before the first, or all, are no longer there.
    gap: bool


class History:
    """Reads histories.

    Args:
        commands: The connection.
        limits: How much is kept.
    """

    def __init__(self, commands: Asynchronous, limits: HistoryLimits) -> None:
        self._commands: Final = commands
        self._meta_seconds: Final = meta_seconds(limits)

    async def read(self, channel: str, since: Position | None) -> Page:
        """The next messages after `since`; none for None, which asks where the channel stands.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        epoch, first = (since.epoch, since.offset + 1) if since else ("", 0)
        args = (new_epoch(), self._meta_seconds, epoch, first, _PAGE)
        answer = await _READ.run_async(self._commands, history_keys(channel), args)
        return _page(channel, since, answer)

    async def ack(self, channel: str, position: Position) -> None:
        """Notes that a client has seen the channel up to `position`.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        await _ACK.run_async(self._commands, [history_keys(channel)[1]], position)


def _page(channel: str, since: Position | None, answer: Any) -> Page:
    epoch, last, seen, entries = answer
    top = Position(epoch.decode(), int(last))
    messages = []
    for place, fields in entries:
        position = Position(top.epoch, int(place.split(b"-")[0]))
        try:
            messages.append(from_history(channel, position, fields[3]))
        except BadMessage:
            # Some other program's; nobody hears it live either.
            continue
    return Page(
        top,
        Position(top.epoch, int(seen)) if seen else None,
        messages,
        since is not None and _is_gap(since, top, entries),
    )


def _is_gap(since: Position, top: Position, entries: Any) -> bool:
    if since.epoch != top.epoch:
        return True
    if since.offset >= top.offset:
        # Above it: Redis came back with less than it had.
        return since.offset > top.offset
    return not entries or int(entries[0][0].split(b"-")[0]) != since.offset + 1
