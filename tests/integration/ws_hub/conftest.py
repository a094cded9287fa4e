from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from starlette.applications import Starlette

from tests.support.hub_server import SECRET, RunningHub
from ws_hub import HubSettings


class StartHub(Protocol):
    def __call__(
        self,
        app: Starlette | None = None,
        *,
        port: int | None = None,
        server: dict[str, Any] | None = None,
        **settings: Any,
    ) -> RunningHub:
        """`server`: options of uvicorn's; the rest are the hub's settings."""


@pytest.fixture
def start_hub(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartHub]:
    for name in ("SECRET_KEY", "ALLOW_ANONYMOUS", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    running: list[RunningHub] = []

    def start(
        app: Starlette | None = None,
        *,
        port: int | None = None,
        server: dict[str, Any] | None = None,
        **settings: Any,
    ) -> RunningHub:
        values = {"redis_url": redis_url, "secret_key": SECRET, **settings}
        # As compose.yaml starts it; uvicorn's own default is in `test_process`.
        options = {"ws": "ws_hub.lean:LeanWebSocket", **(server or {})}
        hub = RunningHub(HubSettings.model_validate(values), app, port, **options)
        hub.start()
        running.append(hub)
        return hub

    yield start
    for hub in running:
        hub.stop()


@pytest.fixture
def hub(start_hub: StartHub) -> RunningHub:
    return start_hub()
