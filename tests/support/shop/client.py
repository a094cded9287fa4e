"""What a client of the shop does: ask, wait, fetch, listen."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from fastapi.testclient import TestClient
from httpx import Response

from tests.support.waiting import wait_until
from ws_hub import redis_channel
from ws_hub.published import parse_published

CHANNEL = "channel-of-the-test-0"
ANONYMOUS = {"X-Async-Request": CHANNEL}

Finished = Callable[..., dict[str, Any]]


class Shop:
    """The shop as its clients see it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def accepted(self, method: str, path: str, **kwargs: Any) -> str:
        """Sends a request asynchronously and gives its id."""
        headers = ANONYMOUS | kwargs.pop("headers", {})
        answer = self.client.request(method, path, headers=headers, **kwargs)
        assert answer.status_code == 202, answer.text
        # The answer to HEAD has no body.
        location: str = answer.headers["location"]
        return location.rstrip("/").rpartition("/")[2]

    def asked(self, task_id: str, headers: Mapping[str, str] = ANONYMOUS) -> Response:
        """Asks for the result once."""
        url = f"/api/v1/async_background_response/{task_id}/"
        answer: Response = self.client.get(url, headers=dict(headers))
        return answer

    def result(
        self,
        task_id: str,
        headers: Mapping[str, str] = ANONYMOUS,
        within: float = 20,
        *,
        storage_away: bool = False,
    ) -> dict[str, Any]:
        """Waits for the result envelope; where the storage may be away, as long as that is said."""

        def ready() -> Response | None:
            answer = self.asked(task_id, headers)
            if storage_away and answer.status_code == 503:
                return None
            assert answer.status_code in (200, 202), answer.text
            return answer if answer.status_code == 200 else None

        answer = wait_until(ready, within=within, what=f"the result of {task_id}")
        assert answer is not None
        result: dict[str, Any] = answer.json()
        return result

    def finished(self, method: str, path: str, within: float = 20, **kwargs: Any) -> dict[str, Any]:
        """Sends a request asynchronously, waits, and gives the result envelope."""
        task_id = self.accepted(method, path, **kwargs)
        return self.result(task_id, ANONYMOUS | kwargs.get("headers", {}), within)


@contextmanager
def listening(store: "redis.Redis", channel: str) -> Iterator[Callable[[], list[str]]]:
    """Gives the ids of the tasks that were told of on an internal channel so far."""
    pubsub: Any
    with store.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe(redis_channel(channel))
        assert pubsub.get_message(timeout=5) is not None
        told: list[str] = []

        def heard() -> list[str]:
            while message := pubsub.get_message(timeout=0):
                assert message["type"] == "message"
                told.append(
                    json.loads(parse_published(channel, message["data"]).field("data"))["task_id"]
                )
            return told

        yield heard
