"""Claim checks: a body too large for a message or a result is kept beside it, in sealed pieces.

`body:` and the task's id is a request's, `answer:` and the id an answer's. In pieces, so that no
process ever holds the whole, and each command stays small against REDIS_TIMEOUT_SECONDS. Each
piece is sealed together with its place, so that none can take another's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Final, Literal, ParamSpec, TypeVar

import redis

from respond_async.claim_store import ClaimStore, RedisClaims, claim_store
from respond_async.compression import packed, unpacked
from respond_async.envelope import BodyClaim
from respond_async.errors import BodyLostError, EnvelopeError, StoreUnavailableError
from respond_async.sealing import Sealer
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

PIECE_BYTES: Final = 1024 * 1024
#: How long an unfinished claim outlives its last piece: what a killed process leaves behind.
_UNFINISHED_SECONDS: Final = 600
_THREADS: Final = 4


class Claims:
    """The claims of one kind; used by the app and by workers.

    Nothing here opens a connection or starts a thread before it is used.

    Args:
        settings: Store, keys and time to live.
        kind: Whose bodies they are.
        connect: Makes the Redis client, where Redis is the store.
    """

    def __init__(
        self,
        settings: Settings,
        kind: Literal["body", "answer"],
        connect: Callable[[], redis.Redis],
    ) -> None:
        self._store: ClaimStore = claim_store(settings, connect)
        self._kind = kind
        self._ttl = settings.result_ttl_seconds
        self._unfinished = settings.request_body_timeout_seconds + _UNFINISHED_SECONDS
        self._sealer = Sealer(settings, kind if kind == "body" else "answer body")

    def writer(self, task_id: str) -> "ClaimWriter":
        """Begins a claim."""
        return ClaimWriter(self, task_id)

    def check(self, task_id: str, claim: BodyClaim) -> None:
        """Whether the whole body is there; blocks.

        Raises:
            BodyLostError: It is not, or not all of it.
            StoreUnavailableError: The store did not answer.
        """
        with _answering():
            count = self._store.count(self._name(task_id))
        if count < claim.pieces:
            raise BodyLostError(f"of a {self._kind} of {claim.size} bytes pieces are gone")

    async def pieces(self, task_id: str, claim: BodyClaim) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Raises:
            BodyLostError: A piece is not there any more.
            EnvelopeError: A piece was not sealed by us for this place.
            StoreUnavailableError: The store did not answer.
        """
        for place in range(claim.pieces):
            yield await self.in_thread(self._read, task_id, place)

    def pieces_here(self, task_id: str, claim: BodyClaim) -> Iterator[bytes]:
        """As `pieces`, for a caller that may block."""
        for place in range(claim.pieces):
            yield self._read(task_id, place)

    async def discard(self, task_id: str) -> None:
        """Removes the body, if it is there.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        await self.in_thread(self.discard_here, task_id)

    def discard_here(self, task_id: str) -> None:
        """As `discard`, for a caller that may block."""
        with _answering():
            self._store.discard(self._name(task_id))

    @property
    def in_redis(self) -> bool:
        """Whether Redis is the store: a script that ends a run removes the body too."""
        return isinstance(self._store, RedisClaims)

    def write(self, task_id: str, place: int, data: bytes) -> None:
        """Keeps a piece; blocks."""
        head = f"{task_id} {place}\n".encode()
        sealed = self._sealer.seal(head + packed(data)).encode()
        with _answering():
            self._store.write(self._name(task_id), place, sealed, int(self._unfinished))

    def finish(self, task_id: str) -> None:
        """The claim lives RESULT_TTL_SECONDS from now on; blocks."""
        with _answering():
            self._store.keep(self._name(task_id), self._ttl)

    async def in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls what blocks."""
        return await asyncio.wrap_future(self._threads.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Ends the threads; the next use starts new ones."""
        threads = self.__dict__.pop("_threads", None)
        if threads is not None:
            threads.shutdown(wait=False)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # Of its own: a store that hangs must not take the threads of the app's own endpoints.
        return ThreadPoolExecutor(_THREADS, f"respond_async.{self._kind}")

    def _read(self, task_id: str, place: int) -> bytes:
        with _answering():
            sealed = self._store.read(self._name(task_id), place)
        if sealed is None:
            raise BodyLostError(f"piece {place} of the {self._kind} is gone")
        head, _, data = self._sealer.open(sealed.decode("ascii", "replace")).partition(b"\n")
        if head != f"{task_id} {place}".encode():
            raise EnvelopeError(f"a piece of the {self._kind} is another's")
        return unpacked(data)

    def _name(self, task_id: str) -> str:
        return f"{self._kind}:{task_id}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailableError(f"the claim store: {type(error).__name__}: {error}") from error


class ClaimWriter:
    """One body on its way into a claim; holds less than a piece of it at a time."""

    def __init__(self, claims: Claims, task_id: str) -> None:
        self._claims = claims
        self._task_id = task_id
        self._waiting = bytearray()
        self._pieces = 0
        self._size = 0

    async def write(self, part: bytes) -> None:
        """Takes the next part, of any size.

        Raises:
            StoreUnavailableError: The store did not take it.
        """
        self._size += len(part)
        # A view, so that a part of 100 MB is not copied with every piece.
        view = memoryview(part)
        while view:
            room = PIECE_BYTES - len(self._waiting)
            self._waiting += view[:room]
            view = view[room:]
            if len(self._waiting) == PIECE_BYTES:
                await self._flush()

    async def finish(self) -> BodyClaim:
        """The claim on the whole body.

        Raises:
            StoreUnavailableError: The store did not take it.
        """
        if self._waiting:
            await self._flush()
        await self._claims.in_thread(self._claims.finish, self._task_id)
        return BodyClaim(size=self._size, pieces=self._pieces)

    async def abandon(self) -> None:
        """Removes what was kept; never raises."""
        self._waiting.clear()
        try:
            await self._claims.discard(self._task_id)
        except StoreUnavailableError as error:
            logger.warning("request %s: what was stored ends by its TTL: %s", self._task_id, error)

    async def _flush(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        await self._claims.in_thread(self._claims.write, self._task_id, self._pieces, data)
        self._pieces += 1
