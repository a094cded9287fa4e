"""Redis: whether it can be used, keeps what it is given, and has the same time as we."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, cast

import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from respond_async.command.findings import Finding, Level
from respond_async.command.look_at_settings import redis_address
from respond_async.heartbeat import seconds_since_worker
from respond_async.settings import Settings
from ws_hub import connect, connect_async

__all__ = ["clock", "look_at_redis", "look_at_worker", "short_lived"]

_ANSWER_SECONDS: Final = 3.0
#: The oldest that the tests run on.
_OLDEST: Final = (6, 2)
_SKEW_SECONDS: Final = 1.0
#: Tokens and delays are wrong by that much.
_WRONG_SECONDS: Final = 30.0
_NEARLY_FULL: Final = 0.9
_DEFAULT_WORKER_SECONDS: Final = 60.0

Look = Callable[[redis.Redis, str], list[Finding]]


def short_lived(settings: Settings) -> redis.Redis:
    """A client that tries once, and for three seconds."""
    return connect(
        settings.redis_url, retry=Retry(NoBackoff(), 0), decode_responses=True,
        socket_connect_timeout=_ANSWER_SECONDS, socket_timeout=_ANSWER_SECONDS,
    )  # fmt: skip


def look_at_redis(settings: Settings) -> list[Finding]:
    """What there is to say of the Redis of REDIS_URL; a failure of one look hides no other."""
    where = redis_address(settings)
    client = short_lived(settings)
    try:
        try:
            client.ping()
        except redis.AuthenticationError as error:
            remedy = "mend user and password in REDIS_URL: redis://USER:PASSWORD@host"
            return [Finding(f"redis {where}", "failure", f"refused the login: {error}", remedy)]
        except (redis.RedisError, OSError) as error:
            remedy = "start Redis, or mend REDIS_URL, TLS (rediss://) and firewalls"
            return [Finding(f"redis {where}", "failure", f"does not answer: {error}", remedy)]
        found: list[Finding] = []
        for subject, look in _LOOKS.items():
            found += _looked(client, f"{subject} {where}", look)
        return found
    finally:
        client.close()


def look_at_worker(settings: Settings) -> list[Finding]:
    """Whether a worker of KAFKA_TOPIC gave a sign of life; nothing where Redis does not answer."""
    subject = f"worker of {settings.kafka_topic}"
    longest = settings.ready_worker_seconds or _DEFAULT_WORKER_SECONDS

    async def ask() -> float | None:
        client = connect_async(
            settings.redis_url, retry=AsyncRetry(NoBackoff(), 0),
            socket_connect_timeout=_ANSWER_SECONDS, socket_timeout=_ANSWER_SECONDS,
        )  # fmt: skip
        try:
            return await seconds_since_worker(client, settings)
        finally:
            await client.aclose()

    try:
        ago = asyncio.run(ask())
    except (redis.RedisError, OSError):
        return []
    if ago is not None and ago <= longest:
        return [Finding(subject, "ok", f"seen {ago:.0f} s ago")]
    what = "none was seen in a day" if ago is None else f"none was seen for {ago:.0f} s"
    remedy = "start one with the same REDIS_URL and KAFKA_TOPIC: celery -A PROJECT worker"
    return [Finding(subject, "failure", f"{what}: requests wait", remedy)]


def clock(subject: str, skew: float, uncertain: float) -> Finding:
    """What a difference of clocks means.

    Args:
        subject: Whose clock.
        skew: Seconds that it is ahead of ours.
        uncertain: Seconds that the measurement may be wrong by.
    """
    off = max(0.0, abs(skew) - uncertain)
    what = f"{abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} this host"
    if off < _SKEW_SECONDS:
        return Finding(subject, "ok", what)
    level: Level = "failure" if off >= _WRONG_SECONDS else "warning"
    return Finding(
        subject, level, f"{what}: tokens, delays and results end too early or too late",
        "run chrony or ntpd on both hosts",
    )  # fmt: skip


def _looked(client: redis.Redis, subject: str, look: Look) -> list[Finding]:
    try:
        return look(client, subject)
    except redis.exceptions.NoPermissionError as error:
        return [Finding(subject, "warning", f"may not be seen: {error}", "allow it by an ACL")]
    except (redis.RedisError, OSError) as error:
        return [Finding(subject, "failure", str(error), "see the log of Redis")]


def _version(client: redis.Redis, subject: str) -> list[Finding]:
    text = str(_info(client, "server").get("redis_version", "0"))
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if parts < _OLDEST:
        remedy = f"use {'.'.join(map(str, _OLDEST))} or newer"
        return [Finding(subject, "warning", f"{text} is older than what is tested", remedy)]
    return [Finding(subject, "ok", text)]


def _writing(client: redis.Redis, subject: str) -> list[Finding]:
    name = f"respond_async:doctor:{secrets.token_hex(8)}"
    try:
        # As the service does it: from a script.
        client.eval("return redis.call('SET', KEYS[1], '1', 'EX', 10)", 1, name)
        client.delete(name)
    except redis.exceptions.ReadOnlyError:
        remedy = "name the master in REDIS_URL, or its Sentinels"
        return [Finding(subject, "failure", "is a replica: nothing can be written", remedy)]
    except redis.exceptions.OutOfMemoryError:
        remedy = "raise maxmemory, or lower RESULT_TTL_SECONDS"
        return [Finding(subject, "failure", "is full: nothing more is stored", remedy)]
    except redis.exceptions.NoPermissionError as error:
        remedy = "allow EVAL, EVALSHA and all commands on the service's keys by an ACL"
        return [Finding(subject, "failure", f"refuses scripts that write: {error}", remedy)]
    except redis.ResponseError as error:
        return [Finding(subject, "failure", f"takes no write: {error}", "see the log of Redis")]
    return [Finding(subject, "ok", "takes writes and scripts")]


def _persistence(client: redis.Redis, subject: str) -> list[Finding]:
    info = _info(client, "persistence")
    if int(info.get("aof_enabled", 0)):
        if info.get("aof_last_write_status", "ok") != "ok":
            remedy = "free its disk; see the log of Redis"
            return [Finding(subject, "failure", "the append-only file cannot be written", remedy)]
        return [Finding(subject, "ok", "append-only file")]
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        remedy = "free its disk; see the log of Redis"
        return [Finding(subject, "failure", "the last snapshot failed", remedy)]
    try:
        saves = str(client.config_get("save").get("save", ""))
    except redis.RedisError:
        # Managed ones allow no CONFIG.
        remedy = "see that your provider keeps it: results are nowhere else"
        return [Finding(subject, "warning", "no append-only file; snapshots unknown", remedy)]
    if saves:
        remedy = "set appendonly yes: results since the last snapshot would be lost"
        return [Finding(subject, "warning", f"snapshots alone ({saves})", remedy)]
    remedy = "set appendonly yes: results would be lost with a restart"
    return [Finding(subject, "warning", "none: all is in memory", remedy)]


def _eviction(client: redis.Redis, subject: str) -> list[Finding]:
    info = _info(client, "memory")
    policy, most = str(info.get("maxmemory_policy", "")), int(info.get("maxmemory", 0))
    if most and policy != "noeviction":
        remedy = "set maxmemory-policy noeviction: what is full is then said, nothing is lost"
        return [Finding(subject, "failure", f"{policy} drops results and leases", remedy)]
    if most and int(info.get("used_memory", 0)) > _NEARLY_FULL * most:
        share = int(info["used_memory"]) / most
        remedy = "raise maxmemory, or lower RESULT_TTL_SECONDS"
        return [Finding(subject, "warning", f"{share:.0%} of maxmemory are used", remedy)]
    if policy not in {"", "noeviction"}:
        remedy = "set maxmemory-policy noeviction before maxmemory is set"
        return [Finding(subject, "warning", f"{policy}, though there is no maxmemory yet", remedy)]
    return [Finding(subject, "ok", "noeviction")]


def _pub_sub(client: redis.Redis, subject: str) -> list[Finding]:
    channel = f"respond_async:doctor:{secrets.token_hex(8)}"
    end = time.monotonic() + _ANSWER_SECONDS
    with client.pubsub() as listening:  # type: ignore[no-untyped-call]
        listening.subscribe(channel)
        published = False
        while time.monotonic() < end:
            came = cast("dict[str, Any] | None", listening.get_message(timeout=0.2))
            if came is not None and came["type"] == "message":
                return [Finding(subject, "ok", "delivers")]
            if came is not None and not published:
                client.publish(channel, "1")
                published = True
    remedy = "allow the service's channels by an ACL (resetchannels, &*)"
    return [Finding(subject, "failure", "what is published does not come", remedy)]


def _clock(client: redis.Redis, subject: str) -> list[Finding]:
    samples = []
    for _ in range(3):
        begun = time.time()
        seconds, micros = client.time()
        ended = time.time()
        uncertain = (ended - begun) / 2
        samples.append((uncertain, seconds + micros / 1e6 - (begun + uncertain)))
    uncertain, skew = min(samples)
    return [clock(subject, skew, uncertain)]


def _info(client: redis.Redis, section: str) -> dict[str, Any]:
    return client.info(section)


_LOOKS: Final[dict[str, Look]] = {
    "redis": _version,
    "writes to": _writing,
    "persistence of": _persistence,
    "eviction of": _eviction,
    "pub/sub of": _pub_sub,
    "clock of": _clock,
}
