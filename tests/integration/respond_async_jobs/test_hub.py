"""What a job's owner hears over the hub, also after being away."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from respond_async import Settings, Status
from tests.integration.respond_async_jobs.conftest import Client
from tests.support.hub_server import RunningHub, received, received_of_type
from tests.support.jobs import functions
from ws_hub import HubSettings, user_channel

ALICE = user_channel("alice")
V2 = "protocol=2"


@pytest.fixture(scope="module")
def hub(client: Client, settings: Settings) -> Iterator[RunningHub]:
    running = RunningHub(HubSettings(**settings.model_dump(include=set(HubSettings.model_fields))))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def told(socket: ClientConnection) -> dict[str, Any]:
    message = received_of_type(socket, "data")
    return {**json.loads(message["data"]), "id": message.get("id")}


def test_who_was_away_hears_of_the_end_once(client: Client, hub: RunningHub, worker: Any) -> None:
    token = f"token={hub.token('alice')}"
    with hub.connect(f"{V2}&{token}") as socket:
        assert received(socket)["type"] == "welcome"
        since = received(socket)["id"]
        job = client.create(functions.talking, ["a", "b"], channel=ALICE)
        first = told(socket)
        assert (first["task_id"], first["status"]) == (job.id, "PENDING")
    # Away: it ends meanwhile, and is delivered once more.
    client.ended(job)
    client.jobs._celery.celery().send_task(
        functions.talking.definition.name, task_id=job.id, kwargs={"respond_async_job": True}
    )
    later = client.ended(client.create("jobs.doubled", 1, channel=ALICE))
    with hub.connect(f"{V2}&{token}&since={since}") as socket:
        assert received(socket)["type"] == "welcome"
        heard = [told(socket)]
        while (heard[-1]["task_id"], heard[-1]["status"]) != (later.id, "COMPLETED"):
            heard.append(told(socket))
    ids = [each["id"] for each in heard]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    statuses = [each["status"] for each in heard if each["task_id"] == job.id]
    assert statuses[0] == "PENDING"
    assert set(statuses[1:-1]) <= {"RUNNING"}
    assert statuses[-1] == "COMPLETED"
    assert statuses.count("COMPLETED") == 1


def test_a_client_of_version_1_hears_of_the_end_alone(
    client: Client, hub: RunningHub, worker: Any
) -> None:
    with hub.subscribed(f"token={hub.token('alice')}") as socket:
        job = client.create("jobs.resized", {"width": 8, "height": 4}, channel=ALICE)
        only = told(socket)
    assert (only["task_id"], only["status"], only["action"]) == (job.id, "COMPLETED", "task")


def test_progress_takes_no_room_in_the_history(client: Client, worker: Any) -> None:
    client.store.flushall()
    job = client.ended(client.create("jobs.resized", {"width": 8, "height": 4}, channel=ALICE))
    assert job.status is Status.COMPLETED
    (stream,) = client.store.keys("*:history")
    entries: Any = client.store.xrange(stream)
    kept = [json.loads(fields["m"]) for _, fields in entries]
    assert not any("progress" in json.loads(each["data"]) for each in kept)
    assert json.loads(kept[-1]["data"])["status"] == "COMPLETED"
