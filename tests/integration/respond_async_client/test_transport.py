"""The Python client against a real app and worker."""

import asyncio

import httpx
import pytest

from respond_async.client import AsyncRequestTransport, Job, ResultTimeout, request_async
from tests.integration.respond_async_client.conftest import SECRET
from tests.support.waiting import wait_until
from ws_hub import HubSettings, TokenVerifier

ASYNC = {"async": True}
FILE = {"files": {"file": ("a.bin", b"\x00\x01" * 200_000)}, "data": {"note": "größe"}}
LIST = "/api/v1/async_background_response/"


def plain(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    response.read()
    headers = [(k, v) for k, v in response.headers.multi_items() if k not in ("date", "server")]
    return response.status_code, sorted(headers), response.content


def asks(shop: str) -> tuple[httpx.Client, list[Job]]:
    jobs: list[Job] = []
    transport = AsyncRequestTransport(on_accepted=jobs.append)
    return httpx.Client(base_url=shop, transport=transport), jobs


def status_of(shop: str, job: Job) -> int | None:
    """The status of the result; None while there is none."""
    answer = httpx.get(f"{shop}{job.location.path}", headers=dict(job.headers))
    assert answer.status_code in (200, 202), answer.text
    return int(answer.json()["status"]) if answer.status_code == 200 else None


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("POST", "/upload", FILE),
        ("POST", "/orders", {"json": {"article": "apple", "pieces": 3}}),
        ("POST", "/orders", {"json": {"article": "apple"}}),
        ("GET", "/answers/large-json", {}),
        ("GET", "/answers/large", {}),
        ("GET", "/answers/repeated", {}),
        ("GET", "/answers/empty", {}),
        ("GET", "/answers/problem", {}),
        ("HEAD", "/head", {}),
        ("GET", "/forbidden", {}),
        ("GET", "/crash", {}),
    ],
)
def test_the_response_is_that_of_a_direct_request(
    shop: str, method: str, path: str, request_: dict[str, object]
) -> None:
    client, jobs = asks(shop)
    # Not over one connection: uvicorn ends it after the 500 of an exception.
    direct = httpx.request(method, f"{shop}{path}", **request_)  # type: ignore[arg-type]
    with client:
        answer = client.request(method, path, extensions=ASYNC, **request_)  # type: ignore[arg-type]
        assert len(jobs) == 1
        expected, given = plain(direct), plain(answer)
        if method == "HEAD":
            # Of a HEAD nothing is sent: the answer names the length of what it has.
            expected, given = (expected[0], [], b""), (given[0], [], given[2])
        assert given == expected
        assert answer.url == direct.url
        assert answer.cookies == direct.cookies


def test_many_are_waited_for_at_once(shop: str) -> None:
    async def main() -> None:
        transport = AsyncRequestTransport(everything=True)
        async with httpx.AsyncClient(base_url=shop, transport=transport) as client:
            names = [f"n{number}" for number in range(10)]
            calls = [client.get("/sleep", params={"seconds": 0.2, "name": name}) for name in names]
            assert [(await call).json() for call in asyncio.as_completed(calls)] != []
            direct = await client.get("/only-async", extensions={"async": False})
            assert direct.status_code == 409

    asyncio.run(main())


def test_cancelling_the_asyncio_task_cancels_the_request(shop: str) -> None:
    async def main() -> None:
        jobs: list[Job] = []
        transport = AsyncRequestTransport(everything=True, on_accepted=jobs.append)
        async with httpx.AsyncClient(base_url=shop, transport=transport) as client:
            call = asyncio.create_task(client.get("/sleep?seconds=600&name=left"))
            async with asyncio.timeout(10):
                while not jobs:
                    await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert status_of(shop, jobs[0]) == 499

    asyncio.run(main())


def test_an_answer_that_is_not_there_in_time_is_given_up_and_cancelled(shop: str) -> None:
    client, jobs = asks(shop)
    with client, pytest.raises(ResultTimeout) as raised:
        client.get("/sleep?seconds=600", extensions={"async": {"timeout": 0.5}})
    assert raised.value.task_id == jobs[0].task_id
    assert isinstance(raised.value, httpx.TimeoutException)
    assert status_of(shop, jobs[0]) == 499


def test_a_user_asks_with_their_token(shop: str) -> None:
    token = TokenVerifier(HubSettings(secret_key=[SECRET])).issue("alice", 60)  # type: ignore[list-item]
    client, _ = asks(shop)
    with client:
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.get("/me", headers=headers, extensions=ASYNC)
        assert answer.json() == {"sub": "alice", "replayed": True}

        def listed() -> list[str]:
            rows = client.get(LIST, headers=headers).json()["data"]
            return [row["endpoint"] for row in rows]

        # The list is written soon after, not with the 202.
        assert wait_until(listed, within=10, what="the request in the list") == ["/me"]
        refused = client.get("/me", headers={"Authorization": "Bearer forged"}, extensions=ASYNC)
        assert refused.status_code == 401


@pytest.mark.parametrize("wait_seconds", [0.0, 25.0])
def test_a_plain_client_can_ask_too(shop: str, wait_seconds: float) -> None:
    with httpx.Client(base_url=shop) as client:
        answer = request_async(
            client, "GET", "/sleep?seconds=0.3&name=ada", wait_seconds=wait_seconds
        )
    assert answer.json() == "ada"


def test_a_plain_asynchronous_client_can_ask_too(shop: str) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(base_url=shop) as client:
            answer = await request_async(client, "GET", "/sleep?seconds=0.3&name=ada")
        assert answer.json() == "ada"

    asyncio.run(main())
