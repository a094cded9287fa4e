"""The hub's settings, read from the environment."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ws_hub.servers import parse_servers

JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512",
    "EdDSA",
]  # fmt: skip

# RFC 7518 3.2: a key of the same size as the hash output or larger.
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_SHORTEST_SECRET_BYTES = 32


def split_commas(value: Any) -> Any:
    """`"a, b"` or `'["a", "b"]'` as a list; what is not a string stays as it is."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            # A secret may begin with a bracket. `from None` and no text: it may be a secret.
            pass
    return [item.strip() for item in value.split(",") if item.strip()]


#: A list that an environment variable gives comma-separated (or as a JSON array).
CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(split_commas)]
#: The same for secrets, which no repr and no validation error shows.
CommaSeparatedSecrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(split_commas)]


class HubSettings(BaseSettings):
    """Settings of the hub; each comes from the environment variable of its name in upper case.

    Raises:
        pydantic.ValidationError: A value is wrong; its text names the field and never shows
            the value, since that may be a secret.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        # `SECRET_KEY=` in a compose file or shell means "not set".
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    redis_url: str = Field(
        default="redis://localhost:6379/0",
        repr=False,
        description=(
            "Redis that carries the notifications: redis://, rediss://, unix://,"
            " redis+sentinel://host:26379,host2:26379/mymaster/0 or redis+cluster://host,host2."
        ),
    )
    secret_key: CommaSeparatedSecrets = Field(
        default=[],
        description="Secrets, comma-separated: the first signs, all verify (so keys can be rotated).",
    )
    jwt_algorithm: JwtAlgorithm = Field(
        default="HS256",
        description="The one algorithm a token may be signed by (HS*, RS*, PS*, ES* or EdDSA).",
    )
    jwt_public_key: str | None = Field(
        default=None,
        description="PEM public key that verifies tokens when JWT_ALGORITHM is asymmetric.",
    )
    jwt_jwks_url: str | None = Field(
        default=None,
        pattern=r"^https?://.+$",
        description="Where the identity provider publishes its keys (JWK Set), instead of a key here.",
    )
    jwt_jwks_cache_seconds: float = Field(
        default=300.0, gt=0, description="After that long the JWK Set is fetched again."
    )
    jwt_audience: str | None = Field(
        default=None,
        description="The `aud` a token must have; unset: a token that has one is refused.",
    )
    jwt_issuer: str | None = Field(
        default=None, description="The `iss` a token must have; unset: not checked."
    )
    jwt_leeway_seconds: float = Field(
        default=0.0, ge=0, description="Clock difference allowed when `exp` and `nbf` are checked."
    )
    allow_anonymous: bool = Field(
        default=True, description="Whether callers without a token may use an anonymous channel."
    )
    hub_allowed_origins: CommaSeparated = Field(
        default=[],
        description=(
            "Web origins whose pages may open a socket besides the hub's own host, "
            "comma-separated (https://shop.example); * allows all."
        ),
    )
    hub_max_message_bytes: int = Field(
        default=4096, gt=0, description="Largest message a client may send to the hub."
    )
    hub_ping_interval_seconds: float = Field(
        default=20.0, gt=0, description="How often the hub sends a ping to each client."
    )
    hub_send_queue_messages: int = Field(
        default=256, gt=0, description="Messages kept for a slow client before it is closed (1013)."
    )
    hub_send_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How long one message may take to leave before a close (1013).",
    )
    hub_subscribe_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How long a new client waits for Redis before a close (1013).",
    )
    hub_auth_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How long a client of version 2 may take to log in or subscribe (1008).",
    )
    hub_history_messages: int = Field(
        default=256, gt=0, description="Messages of a channel kept for clients that come back."
    )
    hub_history_seconds: int = Field(
        default=3600, gt=0, description="How long they are kept after a channel's last message."
    )
    hub_connections_per_user: int = Field(
        default=100, ge=0, description="Connections of one user to one hub process; 0: no limit."
    )
    hub_connections_per_address: int = Field(
        default=1000,
        ge=0,
        description=(
            "Connections from one address to one hub process; 0: no limit. Behind a balancer"
            " uvicorn needs --forwarded-allow-ips to know addresses."
        ),
    )
    hub_channels_per_connection: int = Field(
        default=100, gt=0, description="Channels that one connection may hear."
    )
    hub_client_messages_per_second: float = Field(
        default=100.0,
        gt=0,
        description="Messages a client may send (five seconds' worth at once) before a close (1013).",
    )
    hub_reconnects_per_second: float = Field(
        default=500.0,
        gt=0,
        description="When the hub stops it asks its clients to come back at that rate.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Whoever sends it as a Bearer token may read `/metrics` of the app and the hub,"
        " and METRICS_PORT; unset: the public port has no `/metrics`.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="A port of its own for `/metrics`, of app, hub and worker; 0: none. Not for the"
        " public: it shows which endpoints there are and how they are used.",
    )
    metrics_address: str = Field(
        default="127.0.0.1", description="The address that METRICS_PORT listens on."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Least severe log lines that are written."
    )

    @property
    def metrics_on(self) -> bool:
        """Whether anything is counted: without a reader nothing is."""
        return bool(self.metrics_port or self.metrics_token)

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: str) -> str:
        try:
            parse_servers(value)
        except ValueError as wrong:
            raise ValueError(f"REDIS_URL: {wrong}") from None
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("jwt_public_key")
    @classmethod
    def _is_public_pem(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # Environment files hold a PEM on one line, its line ends written as \n.
        value = value.replace("\\n", "\n")
        if "-----BEGIN PUBLIC KEY-----" not in value and "BEGIN RSA PUBLIC KEY" not in value:
            message = (
                "JWT_PUBLIC_KEY must be a PEM public key (-----BEGIN PUBLIC KEY-----); "
                "a private key does not belong here"
            )
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _keys_fit_the_algorithm(self) -> Self:
        symmetric = self.jwt_algorithm in _SECRET_BYTES
        least = _SECRET_BYTES.get(self.jwt_algorithm, _SHORTEST_SECRET_BYTES)
        for place, secret in enumerate(self.secret_key, start=1):
            size = len(secret.get_secret_value().encode())
            if size < least:
                message = (
                    f"SECRET_KEY: secret number {place} has {size} bytes and needs at least {least}"
                    f" for {self.jwt_algorithm} (RFC 7518 3.2); make one with:"
                    " python -c 'import secrets; print(secrets.token_urlsafe(64))'"
                )
                raise ValueError(message)
        if self.jwt_jwks_url is not None and (symmetric or self.jwt_public_key is not None):
            message = (
                "JWT_JWKS_URL gives public keys: set JWT_ALGORITHM to that of the identity"
                " provider, for instance RS256, and no JWT_PUBLIC_KEY"
            )
            raise ValueError(message)
        if symmetric and self.jwt_public_key is not None:
            message = (
                f"JWT_PUBLIC_KEY is set while JWT_ALGORITHM is {self.jwt_algorithm}, which verifies"
                " by SECRET_KEY: set JWT_ALGORITHM to the algorithm of that key, for instance RS256"
            )
            raise ValueError(message)
        return self
