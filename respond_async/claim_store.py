"""Where the pieces of large bodies are kept: in Redis, or in files.

Every call blocks. A piece that is written twice does no harm, and what nobody removes ends after
its time: in Redis by itself, a file when the next claim finds it.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import redis

from respond_async.errors import ConfigurationError
from respond_async.settings import Settings

_SWEEP_SECONDS: Final = 60.0
_FOLDER: Final = "respond_async-"


class ClaimStore(Protocol):
    """Pieces by the name of their claim and their place in it.

    Each call raises redis.RedisError or OSError where the store does not answer.
    """

    def write(self, claim: str, place: int, piece: bytes, ttl_seconds: int) -> None:
        """Keeps a piece; the whole claim lives `ttl_seconds` from now on."""

    def keep(self, claim: str, ttl_seconds: int) -> None:
        """The whole claim lives `ttl_seconds` from now on."""

    def read(self, claim: str, place: int) -> bytes | None:
        """A piece; None if it is not there."""

    def count(self, claim: str) -> int:
        """How many pieces there are."""

    def discard(self, claim: str) -> None:
        """Removes the claim, if it is there."""


class RedisClaims:
    """A hash a claim, in Redis."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def write(self, claim: str, place: int, piece: bytes, ttl_seconds: int) -> None:
        """As `ClaimStore`."""
        with self._redis.pipeline() as pipe:
            pipe.hset(_key(claim), str(place), piece)
            pipe.expire(_key(claim), ttl_seconds)
            pipe.execute()

    def keep(self, claim: str, ttl_seconds: int) -> None:
        """As `ClaimStore`."""
        self._redis.expire(_key(claim), ttl_seconds)

    def read(self, claim: str, place: int) -> bytes | None:
        """As `ClaimStore`."""
        piece = self._redis.hget(_key(claim), str(place))
        assert not isinstance(piece, str)
        return piece

    def count(self, claim: str) -> int:
        """As `ClaimStore`."""
        count = self._redis.hlen(_key(claim))
        assert isinstance(count, int)
        return count

    def discard(self, claim: str) -> None:
        """As `ClaimStore`."""
        self._redis.unlink(_key(claim))


class FileClaims:
    """A directory a claim, a file a piece; app and workers share the directory above.

    The time of a directory's last change is the moment its claim ends.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = Lock()
        self._next_sweep = 0.0

    def write(self, claim: str, place: int, piece: bytes, ttl_seconds: int) -> None:
        """As `ClaimStore`."""
        self._sweep()
        folder = self._folder(claim)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = folder / f".{place}"
        unfinished.write_bytes(piece)
        unfinished.replace(folder / str(place))
        self.keep(claim, ttl_seconds)

    def keep(self, claim: str, ttl_seconds: int) -> None:
        """As `ClaimStore`."""
        end = time.time() + ttl_seconds
        try:
            os.utime(self._folder(claim), (end, end))
        except FileNotFoundError:
            return

    def read(self, claim: str, place: int) -> bytes | None:
        """As `ClaimStore`."""
        try:
            return (self._folder(claim) / str(place)).read_bytes()
        except FileNotFoundError:
            return None

    def count(self, claim: str) -> int:
        """As `ClaimStore`."""
        try:
            return sum(not piece.name.startswith(".") for piece in self._folder(claim).iterdir())
        except FileNotFoundError:
            return 0

    def discard(self, claim: str) -> None:
        """As `ClaimStore`."""
        shutil.rmtree(self._folder(claim), ignore_errors=True)

    def _folder(self, claim: str) -> Path:
        # A claim's name holds an id that came in from outside; it must stay one name.
        return self._directory / (_FOLDER + claim.replace("/", "_"))

    def _sweep(self) -> None:
        with self._lock:
            if time.monotonic() < self._next_sweep:
                return
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        # Nothing but our own: the directory may hold what belongs to others.
        for folder in self._directory.glob(_FOLDER + "*"):
            try:
                ended = folder.stat().st_mtime < time.time()
            except FileNotFoundError:
                continue
            if ended:
                shutil.rmtree(folder, ignore_errors=True)


def claim_store(settings: Settings, connect: Callable[[], redis.Redis]) -> ClaimStore:
    """The store that CLAIM_STORE names.

    Args:
        settings: Their `claim_store`.
        connect: Makes the client, where Redis is the store.

    Raises:
        ConfigurationError: It is neither `redis` nor `file:///an/absolute/path`.
    """
    if settings.claim_store == "redis":
        return RedisClaims(connect())
    parts = urlsplit(settings.claim_store)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc or not path.is_absolute() or path == Path("/"):
        raise ConfigurationError("CLAIM_STORE must be redis or file:///an/absolute/path")
    return FileClaims(path)


def _key(claim: str) -> str:
    return f"respond_async:{claim}"
