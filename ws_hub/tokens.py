"""JSON Web Tokens (RFC 7519): who a caller is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.exceptions import (
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidSignatureError,
    InvalidTokenError,
    MissingRequiredClaimError,
)

from ws_hub.errors import HubConfigurationError, TokenRejected
from ws_hub.jwks import JwksKeys
from ws_hub.settings import HubSettings

# A limit before any parsing; servers cap a whole request line at 8 KiB or so as well.
_LONGEST_TOKEN = 8192
# OpenID Connect Core 2: "It MUST NOT exceed 255 ASCII characters in length."
_LONGEST_SUB = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What a verified token says."""

    #: Who the bearer is; never empty, printable.
    sub: str
    #: When it ends (UTC, aware), leeway included; None: never.
    expires_at: datetime | None
    #: Every claim as it stands in the token.
    raw: Mapping[str, Any] = field(repr=False)


class TokenVerifier:
    """Verifies tokens by the settings' one algorithm and keys.

    The algorithm is never taken from the token, so neither `none` nor a public key used as an
    HMAC secret gets through (RFC 8725 3.1).

    Raises:
        HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(self, settings: HubSettings) -> None:
        self._algorithm = settings.jwt_algorithm
        self._audience = settings.jwt_audience
        self._issuer = settings.jwt_issuer
        self._leeway = timedelta(seconds=settings.jwt_leeway_seconds)
        self._symmetric = self._algorithm.startswith("HS")
        self._keys: list[Any] = []
        self._jwks: JwksKeys | None = None
        if settings.jwt_jwks_url is not None:
            self._jwks = JwksKeys(
                settings.jwt_jwks_url, self._algorithm, settings.jwt_jwks_cache_seconds
            )
        elif self._symmetric:
            self._keys = [secret.get_secret_value() for secret in settings.secret_key]
        elif settings.jwt_public_key is not None:
            self._keys = [_public_key(self._algorithm, settings.jwt_public_key)]

    async def prepare(self, token: str) -> None:
        """Fetches the key that `verify` needs, if it comes from a JWK Set and is not here.

        Never raises: what cannot be had, `verify` says.
        """
        if self._jwks is not None and _is_plausible(token):
            await self._jwks.prepare(_kid(token))

    def verify(self, token: str, at: datetime | None = None) -> Claims:
        """The claims of `token`, if it is valid.

        Args:
            token: The compact JWT, without `Bearer`.
            at: The moment (aware) that `exp` and `nbf` are judged by; default: now. A request
                that runs later than it was accepted is judged by when it was accepted.

        Raises:
            TokenRejected: It is not valid; `reason` says why, without the token or the key.
        """
        claims = self._signed_claims(token)
        moment = at or datetime.now(UTC)
        not_before = _moment(claims, "nbf")
        if not_before is not None and moment < not_before - self._leeway:
            raise TokenRejected("not_yet_valid", "the token is not valid yet")
        expires_at = _moment(claims, "exp")
        if expires_at is not None:
            # RFC 7519 4.1.4: "on or after which the JWT MUST NOT be accepted".
            expires_at += self._leeway
            if moment >= expires_at:
                raise TokenRejected("expired", "the token has expired")
        return Claims(sub=_sub(claims), expires_at=expires_at, raw=claims)

    def issue(self, sub: str, lifetime_seconds: float) -> str:
        """A token for `sub`, signed by the first secret; meant for development and tests.

        Raises:
            HubConfigurationError: There is no SECRET_KEY, or JWT_ALGORITHM is asymmetric: then
                tokens come from whoever holds the private key.
        """
        if not self._symmetric:
            raise HubConfigurationError(
                f"tokens cannot be issued with JWT_ALGORITHM={self._algorithm}: "
                "only their public key is known here",
            )
        if not self._keys:
            raise HubConfigurationError("tokens cannot be issued: set SECRET_KEY")
        now = datetime.now(UTC)
        claims = {"sub": sub, "iat": now, "exp": now + timedelta(seconds=lifetime_seconds)}
        if self._issuer is not None:
            claims["iss"] = self._issuer
        if self._audience is not None:
            claims["aud"] = self._audience
        return jwt.encode(claims, self._keys[0], algorithm=self._algorithm)

    def _signed_claims(self, token: str) -> dict[str, Any]:
        keys = self._keys
        if self._jwks is not None:
            keys = self._jwks.candidates(_kid(token)) if _is_plausible(token) else []
            if not keys and _is_plausible(token):
                raise TokenRejected("no_key", "the token was signed by a key that is not known")
        elif not keys:
            missing = "SECRET_KEY" if self._symmetric else "JWT_PUBLIC_KEY"
            raise TokenRejected("no_key", f"tokens cannot be verified: {missing} is not set here")
        if not _is_plausible(token):
            raise TokenRejected("malformed", "the token is not a JWT")
        for key in keys:
            try:
                return self._decode(token, key)
            except InvalidSignatureError:
                continue
        raise TokenRejected("forged", "the token's signature is not ours")

    def _decode(self, token: str, key: Any) -> dict[str, Any]:
        # Nothing of PyJWT's own message goes on: it may quote the token.
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # Times are judged in `verify`, by its own `at`; `sub` in `_sub`.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
        except InvalidSignatureError:
            raise
        except InvalidAlgorithmError:
            reason = f"the token is not signed by {self._algorithm}"
            raise TokenRejected("wrong_algorithm", reason) from None
        except InvalidAudienceError:
            raise TokenRejected("wrong_audience", "the token is for another audience") from None
        except InvalidIssuerError:
            raise TokenRejected("wrong_issuer", "the token is from another issuer") from None
        except MissingRequiredClaimError as missing:
            code = "wrong_issuer" if missing.claim == "iss" else "wrong_audience"
            raise TokenRejected(code, f"the token has no {missing.claim}") from None
        except (InvalidTokenError, ValueError, RecursionError):
            raise TokenRejected("malformed", "the token is not a JWT") from None


def _is_plausible(token: str) -> bool:
    return len(token) <= _LONGEST_TOKEN and token.isascii()


def _kid(token: str) -> str | None:
    """RFC 7515 4.1.4, before anything is verified: it chooses among our keys, no more."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (InvalidTokenError, ValueError, RecursionError):
        return None
    return kid if isinstance(kid, str) else None


def _public_key(algorithm: str, pem: str) -> Any:
    try:
        return jwt.get_algorithm_by_name(algorithm).prepare_key(pem)
    except (InvalidKeyError, ValueError, TypeError) as wrong:
        message = f"JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM={algorithm}"
        raise HubConfigurationError(message) from wrong


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    """RFC 7519 2, NumericDate: seconds since the epoch, perhaps with a fraction."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, ValueError, OSError):
            pass
    raise TokenRejected("malformed", f"the token's {name} is not a date")


def _sub(claims: Mapping[str, Any]) -> str:
    sub = claims.get("sub")
    if not isinstance(sub, str) or not sub:
        raise TokenRejected("no_sub", "the token has no sub, so it says nobody's name")
    # Printable: no line ends for logs, no lone surrogates that UTF-8 cannot carry.
    if len(sub) > _LONGEST_SUB or not sub.isprintable():
        reason = f"the token's sub is not at most {_LONGEST_SUB} printable characters"
        raise TokenRejected("no_sub", reason)
    return sub
