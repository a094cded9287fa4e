"""The asyncio side of the replay, as an asyncio pool would use it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from respond_async import AppStartError, Settings
from respond_async.envelope import CapturedRequest
from respond_async.replay import ReplayApp
from respond_async.scope import ReplayInfo, replay_info

SEEN: list[Any] = []


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app without a lifespan."""
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    SEEN.append(replay_info(scope))
    if scope["path"] == "/trailers":
        await with_trailers(scope, send)
        return
    if scope["path"] == "/silent":
        return
    if scope["path"] == "/raise":
        raise ValueError("secret")
    if scope["path"] == "/wait":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Case", b"\xff")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    if scope["path"] == "/half":
        return
    await send({"type": "http.response.body", "body": b"b"})


async def with_trailers(scope: Any, send: Any) -> None:
    """Sends trailers to whoever is there, and names the extensions that it was offered."""
    offered = ",".join(scope["extensions"]).encode()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-sum")]}
    await send({**start, "trailers": True})
    await send({"type": "http.response.body", "body": b"whole:" + offered})
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    await send({**trailers, "more_trailers": True})
    await send(trailers)
    SEEN.append("behind the trailers")


async def with_state(scope: Any, receive: Any, send: Any) -> None:
    """Its lifespan gives the requests a state; each counts in its own copy."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["begun"] = 0
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    scope["state"]["begun"] += 1
    SEEN.append(scope["state"]["begun"])
    await bare(scope, receive, send)


async def failing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def request(path: str) -> CapturedRequest:
    scope: dict[str, Any] = {"method": "GET", "path": path, "headers": []}
    return CapturedRequest.of(scope, "id", datetime.now(UTC), "anon.channel")


def replayed(path: str, **settings: Any) -> Any:
    async def run() -> Any:
        app = ReplayApp(f"{__name__}:bare", Settings(**settings))
        await app.start()
        try:
            return await app.replay(request(path), b"")
        finally:
            await app.stop()

    SEEN.clear()
    return asyncio.run(run())


def test_an_answer_keeps_the_bytes_of_its_headers() -> None:
    answer = replayed("/")
    assert (answer.status, answer.headers, answer.body) == (200, (("X-Case", "\xff"),), b"ab")


def test_the_app_is_told_by_the_scope_that_it_is_a_replay() -> None:
    replayed("/")
    (info,) = SEEN
    assert isinstance(info, ReplayInfo)
    assert (info.task_id, info.channel) == ("id", "anon.channel")


def test_each_request_has_its_own_copy_of_the_lifespans_state() -> None:
    async def run() -> None:
        app = ReplayApp(f"{__name__}:with_state", Settings())
        await app.start()
        for _ in range(2):
            await app.replay(request("/"), b"")
        await app.stop()

    SEEN.clear()
    asyncio.run(run())
    assert [one for one in SEEN if isinstance(one, int)] == [1, 1]


def test_trailers_are_not_offered_and_left_out_with_a_note(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = replayed("/trailers")
    assert (answer.status, answer.headers) == (200, (("trailer", "x-sum"),))
    assert answer.body == b"whole:"
    assert SEEN[-1] == "behind the trailers"
    (note,) = caplog.messages
    assert note == "GET /trailers: the trailers of its answer are left out"


@pytest.mark.parametrize("path", ["/silent", "/raise"])
def test_an_app_that_gives_no_answer_gives_the_servers_500(path: str) -> None:
    answer = replayed(path)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.header("content-type") == "text/plain; charset=utf-8"


def test_half_an_answer_is_none() -> None:
    answer = replayed("/half")
    assert (answer.status, answer.header("content-type")) == (500, "application/problem+json")


def test_a_deadline_cancels_the_endpoint() -> None:
    assert replayed("/wait", replay_timeout_seconds=0.1).status == 504
    assert SEEN[-1] == "cancelled"


def test_cancelling_the_replay_cancels_the_endpoint() -> None:
    async def run() -> None:
        app = ReplayApp(f"{__name__}:bare", Settings())
        await app.start()
        task = asyncio.create_task(app.replay(request("/wait"), b""))
        while not SEEN:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert SEEN[-1] == "cancelled"

    SEEN.clear()
    asyncio.run(run())


@pytest.mark.parametrize("where", ["no_such_module:app", f"{__name__}:nothing", "failing"])
def test_an_app_that_cannot_start_is_named(where: str) -> None:
    if ":" not in where:
        where = f"{__name__}:{where}"
    with pytest.raises(AppStartError, match=where):
        asyncio.run(ReplayApp(where, Settings()).start())
