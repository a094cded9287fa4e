"""Jobs that a handler creates are its caller's."""

from celery import Celery
from fastapi import FastAPI
from fastapi.testclient import TestClient

from respond_async import AsyncRequests, Jobs, Settings, TaskDependency
from tests.integration.respond_async_jobs.conftest import Client
from tests.support.jobs import functions
from ws_hub import TokenVerifier


def test_a_job_of_a_handler_is_its_callers(
    client: Client, settings: Settings, celery: Celery
) -> None:
    app = FastAPI()
    AsyncRequests(app, celery=celery, settings=settings)
    Jobs(celery, settings)

    @app.post("/double/{number}")
    async def double(number: int, tasks: TaskDependency) -> str:
        return (await tasks.create(functions.doubled, number, dedupe_key="one")).id

    def created(headers: dict[str, str]) -> str:
        answer = http.post("/double/4", headers=headers)
        assert answer.status_code == 200, answer.text
        job_id: str = answer.json()
        return job_id

    def bearer(sub: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {TokenVerifier(settings).issue(sub, 60)}"}

    with TestClient(app) as http:
        alices, bobs, nobodys = created(bearer("alice")), created(bearer("bob")), created({})
        assert client.get(alices).channel == "user.alice"
        assert client.get(bobs).channel == "user.bob"
        assert client.get(nobodys).channel == ""
        # A key is its owner's own.
        assert created(bearer("alice")) == alices
        assert len({alices, bobs, nobodys}) == 3
