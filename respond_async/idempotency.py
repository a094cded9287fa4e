"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): one key, one request.

In Redis, `respond_async:idempotency:` and a keyed hash of owner and key: the request's fingerprint
and id, sealed. Written in one step before the request goes to the queue, and again once it is
there. A request whose server died in between is accepted again under the same id by the next one
that brings the key; a worker that gets it twice runs it once.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from respond_async.connections import AppRedis
from respond_async.envelope import CapturedRequest
from respond_async.errors import EnvelopeError
from respond_async.problems import Problem
from respond_async.sealing import Sealer
from respond_async.settings import Settings

IDEMPOTENCY_HEADER: Final = "idempotency-key"
#: Characters of a key.
LONGEST_KEY: Final = 255
_LONGEST_VALUE: Final = 1024

# RFC 8941 3.3.3, a String, perhaps with parameters (3.1.2), of which the draft knows none.
_STRING: Final = re.compile(
    r'"(?P<text>(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(?:[ ]*;[ ]*[a-z*][a-z0-9_.*-]*(?:=[^;,\s]+)?)*',
    re.ASCII,
)
# What clients of older services send: the same without quotes.
_BARE: Final = re.compile(r"[A-Za-z0-9_.:~+/=-]+", re.ASCII)

# KEYS: under which names it may be, the first is written. ARGV: value, seconds.
_BEGIN: Final = """
for _, key in ipairs(KEYS) do
  local known = redis.call('get', key)
  if known then return {key, known} end
end
redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {KEYS[1], ARGV[1]}
"""
# KEYS[1]: the record. ARGV: the value it must have, its next one or '' for none, seconds.
_REPLACE: Final = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('del', KEYS[1])
else redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return 1
"""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    task_id: str
    #: When the id was made.
    accepted_at: AwareDatetime
    #: When a server began to accept it; None: the queue has it.
    begun_at: AwareDatetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this request holds while it is accepted."""

    redis_key: str
    value: str
    record: _Record


@dataclass(frozen=True, slots=True)
class Repeated:
    """The key was used for the same request before, and the queue has that."""

    task_id: str


class IdempotencyKeys:
    """The keys of all owners.

    Args:
        settings: Lifetime of a key and deadline of an acceptance.
        connection: The app's Redis.
    """

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        self._lifetime: Final = settings.idempotency_ttl_seconds
        # Nobody accepts for longer: it would have been told 503 before.
        self._accepting: Final = (
            settings.kafka_publish_timeout_seconds + 4 * settings.redis_timeout_seconds
        )
        self._retry_after: Final = settings.retry_after_seconds
        self._sealer: Final = Sealer(settings, "idempotency")
        self._redis: Final = connection

    async def claim(
        self, key: str, request: CapturedRequest, body_digest: bytes
    ) -> Claim | Repeated:
        """Claims the key for a request, or finds what it was used for.

        Args:
            key: What `read_key` gave.
            request: As it would be accepted; an earlier attempt's id and time replace its own.
            body_digest: Of its whole body.

        Raises:
            Problem: 422, the key stands for another request; 409, that one is still being
                accepted.
            redis.RedisError: Redis did not answer.
        """
        names = self._sealer.names(f"{request.channel}\n{key}")
        fingerprint = _fingerprint(request, body_digest)
        own = _Record(
            fingerprint=fingerprint,
            task_id=request.task_id,
            accepted_at=request.accepted_at,
            begun_at=datetime.now(UTC),
        )
        value = self._sealed(own)
        client: Any = self._redis.client()
        keys = [f"respond_async:idempotency:{name}" for name in names]
        found_key, found = await client.eval(_BEGIN, len(keys), *keys, value, self._lifetime)
        redis_key, found_value = found_key.decode(), found.decode()
        # Equal also where the command was sent twice over a lost connection.
        if found_value == value:
            return Claim(redis_key, value, own)
        record = self._opened(found_value)
        if record is None:
            # Sealed with a key that is no longer set: nobody can tell what it was.
            raise self._conflict()
        if record.fingerprint != fingerprint:
            raise Problem(422, "This Idempotency-Key was used for another request.")
        if record.begun_at is None:
            return Repeated(record.task_id)
        if (datetime.now(UTC) - record.begun_at).total_seconds() < self._accepting:
            raise self._conflict()
        # Whoever accepted it died. The same id: if the queue has it already, it runs once.
        again = record.model_copy(update={"begun_at": datetime.now(UTC)})
        value = self._sealed(again)
        if not await self._replace(redis_key, found_value, value):
            raise self._conflict()
        return Claim(redis_key, value, again)

    async def keep(self, claim: Claim) -> None:
        """The queue has the request: from now on its key gives its id.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        kept = claim.record.model_copy(update={"begun_at": None})
        await self._replace(claim.redis_key, claim.value, self._sealed(kept))

    async def give_up(self, claim: Claim) -> None:
        """The request was refused: the key is free again.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        await self._replace(claim.redis_key, claim.value, "")

    async def _replace(self, redis_key: str, expected: str, value: str) -> bool:
        client: Any = self._redis.client()
        return bool(await client.eval(_REPLACE, 1, redis_key, expected, value, self._lifetime))

    def _conflict(self) -> Problem:
        return Problem(
            409,
            "A request with this Idempotency-Key is being accepted. Try again later.",
            {"Retry-After": str(max(1, self._retry_after))},
        )

    def _sealed(self, record: _Record) -> str:
        return self._sealer.seal(record.model_dump_json().encode())

    def _opened(self, value: str) -> _Record | None:
        try:
            return _Record.model_validate_json(self._sealer.open(value))
        except (EnvelopeError, ValidationError):
            return None


def read_key(values: Iterable[str]) -> str | None:
    """The key that a request's `Idempotency-Key` headers name; None without one.

    Raises:
        Problem: 400, it is not one String (RFC 8941) of 1 to 255 characters.
    """
    given = list(values)
    if not given:
        return None
    key = ""
    if len(given) == 1 and len(given[0]) <= _LONGEST_VALUE:
        text = given[0].strip(" \t")
        string = _STRING.fullmatch(text)
        if string is not None:
            key = re.sub(r"\\(.)", r"\1", string["text"])
        elif _BARE.fullmatch(text):
            key = text
    if not 0 < len(key) <= LONGEST_KEY:
        raise Problem(
            400,
            f'Idempotency-Key must be one string in quotes, such as "8e03978e-40d5-43dd",'
            f" of 1 to {LONGEST_KEY} printable ASCII characters.",
        )
    return key


def _fingerprint(request: CapturedRequest, body_digest: bytes) -> str:
    asked = f"{request.method}\n{request.root_path}\n{request.endpoint}"
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass") + b"\n" + body_digest).hexdigest()
