"""Settings that are wrong, or that fit no production: pure, but for a look at CLAIM_STORE."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from respond_async.command.findings import Finding
from respond_async.settings import Settings
from ws_hub import parse_servers

__all__ = ["look_at_settings", "read_settings", "redis_address"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NEW_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(64))'"


def read_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings of the environment, or what is wrong with them; values are never shown."""
    try:
        return Settings(), []
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
        return None, [
            Finding(
                str(one["loc"][0]).upper() if one["loc"] else "settings",
                "failure",
                one["msg"],
                "mend the variable; docs/settings.md has all of them",
            )
            for one in wrong
        ]
    except Exception as error:  # noqa: BLE001 - a source of settings, such as JSON that is none
        # Not its text: it may show the value.
        remedy = "docs/settings.md says which variables are JSON"
        name = str(error).partition('"')[2].partition('"')[0].upper() or "settings"
        return None, [Finding(name, "failure", "cannot be read", remedy)]


def look_at_settings(settings: Settings) -> list[Finding]:
    """What in these settings does not fit their environment."""
    found = [
        *_secrets(settings),
        *_strangers(settings),
        *_claims(settings),
    ]
    return found or [Finding("settings", "ok", f"of {settings.environment}")]


def redis_address(settings: Settings) -> str:
    """Where Redis is, without login."""
    servers = parse_servers(settings.redis_url)
    if servers.kind != "server":
        return ",".join(f"{host}:{port}" for host, port in servers.hosts)
    parts = urlsplit(servers.url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def _secrets(settings: Settings) -> list[Finding]:
    production = settings.environment == "production"
    found = []
    if not settings.secret_key:
        found.append(
            Finding("SECRET_KEY", "failure" if production else "warning",
                    "is not set: requests and answers are readable in Kafka and Redis, and whoever writes"
                    " to Kafka is believed",
                    f"set the same one for app, worker and hub: {_NEW_KEY}")
        )  # fmt: skip
    if not production:
        found.append(
            Finding("ENVIRONMENT", "warning", "is development: it hands out tokens to everybody",
                    "set it to production, or leave it out, where others can reach the service")
        )  # fmt: skip
    asymmetric = not settings.jwt_algorithm.startswith("HS")
    if asymmetric and not (settings.jwt_public_key or settings.jwt_jwks_url):
        found.append(
            Finding("JWT_ALGORITHM", "failure",
                    f"is {settings.jwt_algorithm} and there is no key: every token is refused",
                    "set JWT_PUBLIC_KEY or JWT_JWKS_URL")
        )  # fmt: skip
    return found


def _strangers(settings: Settings) -> list[Finding]:
    """What lets in more than it should."""
    found = []
    if "*" in settings.hub_allowed_origins and settings.environment == "production":
        found.append(
            Finding("HUB_ALLOWED_ORIGINS", "warning", "is *: any page may open a socket",
                    "name the origins of your pages")
        )  # fmt: skip
    if (
        settings.metrics_port
        and settings.metrics_token is None
        and settings.metrics_address not in _LOOPBACK
    ):
        found.append(
            Finding("METRICS_PORT", "warning",
                    f"is open on {settings.metrics_address} to whoever reaches it",
                    "set METRICS_TOKEN, or let Prometheus alone reach that port")
        )  # fmt: skip
    servers = parse_servers(settings.redis_url)
    parts = urlsplit(servers.url)
    hosts = [host for host, _ in servers.hosts] or [parts.hostname or "localhost"]
    local = parts.scheme == "unix" or all(host in _LOOPBACK for host in hosts)
    if settings.environment == "production" and not local and not parts.password:
        found.append(
            Finding("REDIS_URL", "warning", f"has no password for {redis_address(settings)}",
                    "give Redis one (requirepass or ACL), and the URL: redis://:PASSWORD@host")
        )  # fmt: skip
    return found


def _claims(settings: Settings) -> list[Finding]:
    if settings.claim_store == "redis":
        return []
    path = Path(unquote(urlsplit(settings.claim_store).path))
    # The service makes what is not there.
    there = next(one for one in (path, *path.parents) if one.exists())
    if there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return []
    return [
        Finding("CLAIM_STORE", "failure", f"{there} is no directory that this user may write to",
                "make the directory, on a volume that app and worker share")
    ]  # fmt: skip
