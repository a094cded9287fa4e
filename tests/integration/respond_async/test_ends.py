"""Who told the owner first is known: it counts the end, and nobody else does."""

from datetime import UTC, datetime

import pytest
import redis

from respond_async import Settings
from respond_async.envelope import CapturedRequest
from respond_async.leases import Leases
from respond_async.runs import Runs, end_command
from respond_async.scripts import Scripts
from respond_async.task_ids import TaskIds

CHANNEL = "anon.channel-of-the-ends"


@pytest.fixture
def runs(settings: Settings) -> Runs:
    scripts = Scripts(settings)
    return Runs(settings, scripts, Leases(scripts))


@pytest.fixture
def request_(settings: Settings) -> CapturedRequest:
    now = datetime.now(UTC)
    scope = {"method": "GET", "path": "/x", "headers": []}
    return CapturedRequest.of(scope, TaskIds(settings).make(CHANNEL, now), now, CHANNEL)


def test_of_two_deliveries_the_first_that_ends_has_told(
    runs: Runs, request_: CapturedRequest
) -> None:
    assert runs.end(request_, answered=True) is True
    assert runs.end(request_, answered=True) is False


def test_of_a_worker_and_a_cancelling_owner_one_has_told(
    settings: Settings, runs: Runs, request_: CapturedRequest, store: "redis.Redis"
) -> None:
    cancel = end_command(request_.task_id, CHANNEL, settings)
    assert store.eval(*cancel) == 1
    assert runs.end(request_, answered=False) is False
    assert store.eval(*cancel) == 0
