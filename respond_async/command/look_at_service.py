"""The running app and its hub, as their clients see them."""

import secrets
import time
from http import HTTPStatus
from typing import Final

import httpx
import redis

from respond_async.command.events import EventsRefused, NoHub, follow
from respond_async.command.findings import Finding, Level
from respond_async.command.look_at_redis import short_lived
from respond_async.settings import Settings
from ws_hub import anonymous_channel, publish

__all__ = ["look_at_app", "look_at_hub"]

_ANSWER_SECONDS: Final = 5.0


def look_at_app(url: str, *, named: bool) -> list[Finding]:
    """What the app's `/readyz` says.

    Args:
        url: The app's.
        named: Whether somebody said that it is there.
    """
    subject = f"app {url}"
    try:
        answer = httpx.get(f"{url.rstrip('/')}/readyz", timeout=_ANSWER_SECONDS)
    except httpx.HTTPError as error:
        level: Level = "failure" if named else "warning"
        what = f"does not answer: {str(error) or type(error).__name__}"
        return [Finding(subject, level, what, "start it, or name it: --url http://host:port")]
    try:
        said = answer.json()
        status, checks = str(said["status"]), dict(said["checks"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return [Finding(subject, "ok", "answers; it has no /readyz to ask")]
        what = f"/readyz answered {answer.status_code}"
        return [Finding(subject, "warning", what, "see that the URL is the app's")]
    if status == "ok":
        return [Finding(subject, "ok", "is ready")]
    wrong = "; ".join(f"{name}: {why}" for name, why in checks.items() if why != "ok")
    level = "warning" if answer.is_success else "failure"
    return [Finding(subject, level, f"says {status}: {wrong}", "mend what it names")]


def look_at_hub(hub: str | None, app: str, settings: Settings, *, app_named: bool) -> list[Finding]:
    """Whether what is published to Redis comes out of the hub.

    Args:
        hub: The hub's address; None: the app may have one.
        app: The app's.
        settings: Name the Redis.
        app_named: Whether somebody said that the app is there.
    """
    url, named = hub or app, app_named or hub is not None
    subject = f"hub {url}"
    name = f"doctor-{secrets.token_hex(16)}"
    client = short_lived(settings)
    published = 0.0
    timeout = httpx.Timeout(_ANSWER_SECONDS)
    try:
        with httpx.Client(timeout=timeout) as asking:
            for event in follow(
                asking, url, params={"channel": name}, headers={}, silent_seconds=_ANSWER_SECONDS
            ):
                if event.kind == "subscribed":
                    published = time.monotonic()
                    publish(client, anonymous_channel(name), {"type": "data", "data": "{}"})
                elif event.kind == "data":
                    took = (time.monotonic() - published) * 1000
                    return [Finding(subject, "ok", f"delivers, within {took:.0f} ms")]
        what = "ends the stream"
    except NoHub as error:
        # Results can be asked for without one.
        level: Level = "warning" if hub is None else "failure"
        remedy = "name it: --hub http://host:port; or install one: Hub().install(app)"
        return [Finding(subject, level, str(error), remedy)]
    except EventsRefused as error:
        if not settings.allow_anonymous:
            return [Finding(subject, "ok", "answers, and lets in nobody without a token")]
        what = str(error)
    except httpx.HTTPError as error:
        if not published:
            level = "failure" if named else "warning"
            what = f"does not answer: {str(error) or type(error).__name__}"
            return [Finding(subject, level, what, "start it, or name it: --hub http://host:port")]
        what = f"lets in, but what is published to Redis did not come within {_ANSWER_SECONDS:g} s"
    except (redis.RedisError, OSError):
        return [Finding(subject, "warning", "lets in; nothing could be published", "mend Redis")]
    finally:
        client.close()
    remedy = "see its log and its REDIS_URL, which must be that of app and worker"
    return [Finding(subject, "failure", what, remedy)]
