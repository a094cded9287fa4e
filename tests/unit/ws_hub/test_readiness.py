"""What a process needs, asked seldom and in bounded time."""

import asyncio

import pytest

from ws_hub import readiness
from ws_hub.readiness import Check, Readiness


def fails(error: Exception) -> Check:
    async def check() -> None:
        raise error

    return check


async def works() -> None:
    pass


def test_many_who_ask_at_once_make_one_question() -> None:
    async def scenario() -> None:
        asked = 0

        async def count() -> None:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)

        asking = Readiness({"it": count})
        reports = await asyncio.gather(*(asking.report() for _ in range(100)))
        assert {report.status for report in reports} == {"ok"}
        assert asked == 1

    asyncio.run(scenario())


def test_it_is_asked_again_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(readiness, "_KEPT_SECONDS", 0.01)
        well = False

        async def sometimes() -> None:
            if not well:
                raise ConnectionError("not yet")

        asking = Readiness({"it": sometimes})
        assert (await asking.report()).checks == {"it": "ConnectionError: not yet"}
        well = True
        await asyncio.sleep(0.02)
        assert (await asking.report()).status == "ok"

    asyncio.run(scenario())


def test_what_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(readiness, "_DEADLINE_SECONDS", 0.05)
        report = await Readiness({"slow": asyncio.Event().wait, "quick": works}).report()  # type: ignore[dict-item]
        assert report.checks == {"slow": "no answer within 0.05 s", "quick": "ok"}
        assert report.http_status == 503

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("checks", "status", "http"),
    [
        ({"redis": works, "worker": works}, "ok", 200),
        ({"redis": works, "worker": fails(OSError())}, "degraded", 200),
        ({"redis": fails(OSError()), "worker": works}, "unavailable", 503),
        ({"redis": fails(OSError()), "worker": fails(OSError())}, "unavailable", 503),
    ],
)
def test_what_can_be_done_without_makes_it_degraded(
    checks: dict[str, Check], status: str, http: int
) -> None:
    async def scenario() -> None:
        report = await Readiness(checks, dispensable=("worker",)).report()
        assert (report.status, report.http_status) == (status, http)

    asyncio.run(scenario())
