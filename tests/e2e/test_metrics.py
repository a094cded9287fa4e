"""The metrics of a run agree with what the run was."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.ports import free_port
from tests.support.scrape import TOKEN, Scrape
from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

CHANNEL = "channel-of-the-metrics-test"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Running = tuple[Service, str]


@pytest.fixture(scope="module", params=["respond_async.pool:AsyncioPool", "processes"])
def running(
    request: pytest.FixtureRequest,
    kafka: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """The service with one worker, and where the worker shows its metrics."""
    directory = tmp_path_factory.mktemp("metrics")
    service = Service(
        directory, kafka, redis_url, ASGI_APP="tests.support.measured:app", METRICS_TOKEN=TOKEN,
        METRICS_SURVEY_SECONDS="0.5", ENVIRONMENT="production",
    )  # fmt: skip
    with service:
        port = free_port()
        shared = directory / "shared"
        shared.mkdir()
        service.environment["METRICS_PORT"] = str(port)
        options: tuple[str, ...] = ()
        if request.param == "processes":
            # Each of the pool's processes counts for itself.
            service.environment["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
            options = ("-P", "processes", "-c", "2")
        service.worker("w1", *options)
        yield service, f"http://127.0.0.1:{port}"


def test_a_run_of_successes_failures_retries_and_cancels_is_what_the_metrics_say(
    running: Running,
) -> None:
    service, worker = running
    headers = {"traceparent": PARENT}
    accepted = [
        service.accepted("POST", f"/orders/{number}", CHANNEL, headers=headers, content=b"x")
        for number in range(20)
    ]
    accepted += [service.accepted("GET", "/refuses", CHANNEL) for _ in range(5)]
    accepted += [service.accepted("GET", "/breaks", CHANNEL) for _ in range(3)]
    accepted += [service.accepted("GET", "/waits/0.5", CHANNEL) for _ in range(2)]
    # Each process of a pool fails once by itself: the names are the attempts of one process.
    accepted += [service.accepted("GET", f"/flaky/{name}", CHANNEL) for name in "abcd"]
    for answer in accepted:
        service.result(answer.json()["meta"]["async_request_id"], CHANNEL)
    cancelled = [service.accepted("GET", "/waits/60", CHANNEL) for _ in range(2)]
    for answer in cancelled:
        ended = service.client.delete(answer.headers["location"], params={"channel": CHANNEL})
        assert ended.status_code in (200, 202, 204), ended.text
    refused = service.client.get("/waits/1", headers={"X-Async-Request": "no name"})
    assert refused.status_code == 400

    wait_until(
        lambda: Scrape(worker).value("respond_async_requests_answered_total") >= len(accepted),
        within=60,
        what="all are counted",
    )
    app, seen = Scrape(service.url), Scrape(worker)
    captured = "respond_async_requests_captured_total"
    assert app.value(captured, endpoint="POST /orders/{number}") == 20
    assert app.value(captured, endpoint="GET /waits/{seconds}") == 4
    assert app.value(captured) == len(accepted) + len(cancelled)
    assert app.value("respond_async_requests_refused_total", status="400") == 1
    assert app.value("respond_async_requests_cancelled_total") == 2

    answered = "respond_async_requests_answered_total"
    assert seen.value(answered, endpoint="POST /orders/{number}", status="2xx") == 20
    assert seen.value(answered, endpoint="GET /refuses", status="4xx") == 5
    assert seen.value(answered, endpoint="GET /breaks", status="5xx") == 3
    assert seen.value(answered, endpoint="GET /flaky/{name}", status="2xx") == 4
    assert seen.value(answered) == len(accepted)
    assert seen.value("respond_async_requests_failed_total") == 0
    retries = seen.value("respond_async_request_retries_total", endpoint="GET /flaky/{name}")
    # A retry may come to the other process, which has not failed yet.
    assert 4 <= retries <= 8
    assert seen.value("respond_async_request_redeliveries_total") == 0
    for name in ("wait", "end_to_end"):
        count = f"respond_async_request_{name}_seconds_count"
        assert seen.value(count, endpoint="POST /orders/{number}") == 20, name
    runs = "respond_async_request_run_seconds"
    assert seen.value(f"{runs}_count", endpoint="GET /flaky/{name}") == 4 + retries
    assert seen.value(f"{runs}_sum", endpoint="GET /waits/{seconds}") >= 1.0
    # No path of a request, no channel and no id is a label.
    assert seen.labels(answered, "endpoint") <= {
        "POST /orders/{number}", "GET /refuses", "GET /breaks", "GET /flaky/{name}",
        "GET /waits/{seconds}",
    }  # fmt: skip
    assert CHANNEL not in app.text + seen.text


def test_a_request_whose_worker_is_killed_is_counted_once(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    with Service(
        tmp_path, kafka, redis_url, ASGI_APP="tests.support.measured:app", METRICS_TOKEN=TOKEN
    ) as service:
        first = service.worker("w1")
        answer = service.accepted("GET", "/waits/4", CHANNEL)
        task_id = answer.json()["meta"]["async_request_id"]

        def runs() -> bool:
            with redis.Redis.from_url(redis_url) as store:
                return bool(store.exists(f"respond_async:running:{task_id}"))

        wait_until(runs, within=20, what="it runs")
        first.kill()
        port = free_port()
        service.environment["METRICS_PORT"] = str(port)
        service.worker("w2")
        service.result(task_id, CHANNEL, within=60)
        wait_until(
            lambda: Scrape(f"http://127.0.0.1:{port}").value(
                "respond_async_requests_answered_total"
            ),
            within=10,
            what="it is counted",
        )
        seen = Scrape(f"http://127.0.0.1:{port}")
        assert seen.value("respond_async_requests_answered_total") == 1
        assert seen.value("respond_async_request_redeliveries_total") == 1
        # It waited once, for the worker that was killed.
        assert seen.value("respond_async_request_wait_seconds_count") == 0
        assert seen.value("respond_async_request_end_to_end_seconds_sum") > 4
        assert Scrape(service.url).value("respond_async_requests_captured_total") == 1


def test_a_bucket_names_a_request_and_its_trace(running: Running) -> None:
    service, worker = running
    if "PROMETHEUS_MULTIPROC_DIR" in service.environment:
        pytest.skip("prometheus-client keeps no exemplars for several processes")

    def shown() -> bool:
        # Of many in a second a bucket shows the first.
        task = service.accepted("POST", "/orders/1", CHANNEL, headers={"traceparent": PARENT})
        task_id = task.json()["meta"]["async_request_id"]
        service.result(task_id, CHANNEL)
        found = Scrape(worker).exemplars("respond_async_request_end_to_end_seconds_bucket")
        return {"trace_id": PARENT.split("-")[1], "task_id": task_id} in found

    wait_until(shown, within=20, what="the exemplar")


def test_the_queue_and_the_worker_are_seen(running: Running) -> None:
    service, worker = running
    queue = service.environment["KAFKA_TOPIC"]
    held = [service.accepted("GET", "/waits/6", CHANNEL) for _ in range(2)]
    # Each on its own: on a slow machine one may be over before the other is told.
    told: set[str] = set()

    def seen() -> bool:
        app = Scrape(service.url)
        messages = "respond_async_queue_messages"
        if (
            app.value(messages, queue=queue, state="running") == 2
            and app.value("respond_async_queue_oldest_message_age_seconds", queue=queue) > 0
            and app.value("respond_async_queue_consumers", queue=queue) == 1
            and app.value("respond_async_queue_dead_letters", queue=queue) == 0
        ):
            told.add("app")
        if Scrape(worker).value("respond_async_worker_tasks_active") == 2:
            told.add("worker")
        return told == {"app", "worker"}

    wait_until(seen, within=20, what="two that run")
    for answer in held:
        service.result(answer.json()["meta"]["async_request_id"], CHANNEL)


def test_the_kafka_clients_tell_of_themselves(running: Running) -> None:
    service, worker = running
    service.accepted("POST", "/orders/2", CHANNEL)
    wait_until(
        lambda: (
            Scrape(service.url).value("respond_async_kafka_sent_messages_total", client="producer")
            and Scrape(worker).value(
                "respond_async_kafka_received_messages_total", client="consumer"
            )
        ),
        within=20,
        what="statistics",
    )
    assert Scrape(worker).value("respond_async_kafka_rtt_seconds", client="consumer") > 0


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {TOKEN}"])
def test_metrics_are_for_those_who_have_the_token(running: Running, authorization: str) -> None:
    for url in (running[0].url, running[1]):
        answer = httpx.get(f"{url}/metrics", headers={"Authorization": authorization})
        assert answer.status_code == 401
        assert "respond_async" not in answer.text


def test_without_a_token_the_public_port_shows_none(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with Service(tmp_path, kafka, redis_url, METRICS_PORT=str(port)) as service:
        assert service.client.get("/metrics").status_code == 404
        # The port of its own is this machine's alone unless METRICS_ADDRESS says otherwise.
        shown = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert shown.status_code == 200
        assert "ws_hub_connections 0.0" in shown.text
