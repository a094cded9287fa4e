"""Public keys from an identity provider's JWK Set (RFC 7517), fetched in the background.

Keys are kept and read at once; what is fetched, and when, is bounded: a token with an unknown
`kid` has the set fetched at most every 30 s, whoever sends how many of them.
"""

import asyncio
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import httpx
import jwt
from jwt.exceptions import PyJWTError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 5.0
# RFC 7517 4.1, and RFC 8037 2 for EdDSA.
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class JwksKeys:
    """The keys of one set, for one algorithm; used from any thread and event loop.

    Args:
        url: Where the set is.
        algorithm: The one that tokens are signed by; other keys of the set are left out.
        lifetime_seconds: After that long the set is fetched again, in the background.
        pause_seconds: At least that long lies between two fetches.
    """

    def __init__(
        self,
        url: str,
        algorithm: str,
        lifetime_seconds: float,
        pause_seconds: float = 30.0,
    ) -> None:
        self._url: Final = url
        self._algorithm: Final = algorithm
        self._lifetime: Final = lifetime_seconds
        self._pause: Final = pause_seconds
        self._lock: Final = Lock()
        self._keys: Mapping[str | None, Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetch: Future[None] | None = None

    def candidates(self, kid: str | None) -> list[Any]:
        """The keys that a token with this `kid` may be signed by; those that are here now."""
        keys = self._keys
        if kid is None:
            return list(keys.values())
        return [keys[kid]] if kid in keys else []

    async def prepare(self, kid: str | None) -> None:
        """Returns once the key is here, or it is not to be had now; never raises."""
        now = time.monotonic()
        known = bool(self.candidates(kid))
        if known and now - self._fetched_at < self._lifetime:
            return
        fetch = self._started(now)
        # An old key is used while the new set comes.
        if fetch is not None and not known:
            await asyncio.wrap_future(fetch)

    def _started(self, now: float) -> "Future[None] | None":
        """The fetch that is under way or begins now; None if it is too soon for another."""
        with self._lock:
            if self._fetch is not None and not self._fetch.done():
                return self._fetch
            # A set that could not be had is tried again sooner than one that lacks a key.
            pause = self._pause if self._fetched_at >= self._tried_at else self._pause / 10
            if now - self._tried_at < pause:
                return None
            self._tried_at = now
            executor = ThreadPoolExecutor(1, "ws_hub.jwks")
            self._fetch = executor.submit(self._get)
            executor.shutdown(wait=False)
            return self._fetch

    def _get(self) -> None:
        try:
            keys = _fetched(self._url, self._algorithm)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            logger.warning("JWT_JWKS_URL gave no keys, the former stay: %s", error)
            return
        self._keys = keys
        self._fetched_at = time.monotonic()


def _fetched(url: str, algorithm: str) -> dict[str | None, Any]:
    with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
        answer = client.get(url, headers={"Accept": "application/json"})
    answer.raise_for_status()
    keys = _usable(answer.json(), algorithm)
    if not keys:
        raise ValueError(f"the set has no key for {algorithm}")
    return keys


def _usable(found: Any, algorithm: str) -> dict[str | None, Any]:
    keys: dict[str | None, Any] = {}
    given = found.get("keys") if isinstance(found, dict) else None
    for jwk in given if isinstance(given, list) else ():
        if not isinstance(jwk, dict) or jwk.get("kty") != _KEY_TYPES[algorithm[:2]]:
            continue
        # RFC 7517 4.2 and 4.4; a private key in a published set is somebody's accident.
        if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm or "d" in jwk:
            continue
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            continue
        try:
            keys[kid] = jwt.PyJWK(jwk, algorithm=algorithm).key
        except (PyJWTError, ValueError, TypeError, KeyError):
            logger.warning("a key of JWT_JWKS_URL cannot be used")
    return keys
