"""One trace from the client's request to the notification, as the processes export it."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.otlp import Collector, Seen, collecting
from tests.support.records import text_of
from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

CHANNEL = "channel-of-the-traces-test"
TRACE = "4bf92f3577b34da6a3ce929d0e0e{:04x}"
CALLER = "00f067aa0ba902b7"
#: What no span may show.
SECRETS = ("words-of-the", CHANNEL, "value-of-the-query", "baggage-of-the-client")

Running = tuple[Service, Collector]


@pytest.fixture(scope="module", params=["respond_async.pool:AsyncioPool", "threads", "processes"])
def running(
    request: pytest.FixtureRequest,
    kafka: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """The service, with a worker of each pool."""
    directory = tmp_path_factory.mktemp("traces")
    with (
        collecting() as collector,
        Service(
            directory, kafka, redis_url, ASGI_APP="tests.support.traced:app",
            WORKER_IMPORTS="tests.support.traced", ENVIRONMENT="production",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100",
            TRACED_DIRECTORY=str(directory), WORKER_POOL=request.param, WORKER_CONCURRENCY="1",
        ) as service,
    ):  # fmt: skip
        # Names the service, so that a span shows where it was made.
        service.environment["OTEL_SERVICE_NAME"] = "worker"
        service.worker("w1")
        yield service, collector


def headers(number: int, *, sampled: bool = True) -> dict[str, str]:
    return {
        "traceparent": f"00-{TRACE.format(number)}-{CALLER}-{'01' if sampled else '00'}",
        "tracestate": "vendor=a-value",
        "baggage": "tenant=baggage-of-the-client",
    }


def spans(collector: Collector, number: int, *names: str) -> list[Seen]:
    """The spans of a trace, once these have arrived, each as often as it is named."""
    trace = TRACE.format(number)
    wait_until(
        lambda: all(len(collector.named(trace, each)) >= n for each, n in Counter(names).items()),
        within=20,
        what=f"{names} among the spans of the trace",
    )
    return collector.of(trace)


def only(found: list[Seen], name: str) -> Seen:
    (one,) = [each for each in found if each.name == name]
    return one


def test_one_trace_from_the_request_to_the_notification(running: Running) -> None:
    service, collector = running
    queue = service.environment["KAFKA_TOPIC"]
    for number, path in ((1, "/orders/7"), (2, "/in-thread/7")):
        method = "POST" if number == 1 else "GET"
        answer = service.accepted(
            method, f"{path}?q=value-of-the-query", CHANNEL, headers=headers(number),
            content=b"words-of-the-body",
        )  # fmt: skip
        task_id = answer.json()["meta"]["async_request_id"]
        envelope = service.result(task_id, CHANNEL)
        # The context is current in the endpoint, and what the client's baggage said is there.
        assert json.loads(json.dumps(envelope["response"])) == {
            "trace": TRACE.format(number),
            "baggage": {"tenant": "baggage-of-the-client"},
        }
        route = f"{method} {path[:-1]}{{number}}"
        found = spans(collector, number, "publish completion", f"process {queue}", route, route)
        # FastAPI makes spans of its own where there is a tracer provider.
        server, again = (each for each in found if each.name == route)
        accept, replay = only(found, "accept"), only(found, f"replay {route}")
        send, process = only(found, f"send {queue}"), only(found, f"process {queue}")
        endpoint = [each for each in found if each.name == "fastapi.endpoint"][-1]
        chain = [(server, CALLER), (accept, server.span_id), (send, accept.span_id),
                 (process, send.span_id), (replay, process.span_id), (again, replay.span_id),
                 (endpoint, again.span_id), (only(found, "own work"), endpoint.span_id),
                 (only(found, "store result"), process.span_id),
                 (only(found, "publish completion"), process.span_id)]  # fmt: skip
        assert [(each.name, each.parent_id) for each, _ in chain] == [
            (each.name, parent) for each, parent in chain
        ]
        ours = [each.kind for each, _ in chain if each not in (server, again, endpoint)]
        assert ours == ["INTERNAL", "PRODUCER", "CONSUMER", *["INTERNAL"] * 3, "PRODUCER"]
        assert process.links == [send.span_id]
        assert {each.service for each in (server, accept, send)} == {"respond-async"}
        assert process.service == "worker"
        group = f"{service.environment['KAFKA_GROUP_ID']}.{queue}"
        assert send.attributes == {
            "messaging.system": "kafka", "messaging.operation.name": "send",
            "messaging.operation.type": "send", "messaging.destination.name": queue,
            "messaging.message.id": task_id,
        }  # fmt: skip
        assert process.attributes == {
            "messaging.system": "kafka", "messaging.operation.name": "process",
            "messaging.operation.type": "process", "messaging.destination.name": queue,
            "messaging.message.id": task_id, "messaging.consumer.group.name": group,
            "celery.task_name": "respond_async.replay", "celery.state": "SUCCESS",
            "respond_async.attempt": 1,
        }  # fmt: skip
        exchange = {
            "http.request.method": method, "http.route": route.split()[1],
            "url.path": path, "url.scheme": "http",
        }  # fmt: skip
        assert accept.attributes == {"http.response.status_code": 202}
        assert server.attributes["http.route"] == route.split()[1]
        assert replay.attributes == {**exchange, "http.response.status_code": 200}
        assert not any(each.failed for each in found)


def test_a_retry_hangs_from_the_attempt_that_asked_for_it(running: Running) -> None:
    service, collector = running
    queue = service.environment["KAFKA_TOPIC"]
    answer = service.accepted("GET", "/flaky/one", CHANNEL, headers=headers(3))
    envelope = service.result(answer.json()["meta"]["async_request_id"], CHANNEL)
    assert envelope["response"]["baggage"] == {"tenant": "baggage-of-the-client"}
    found = spans(
        collector, 3, "publish completion", *[f"process {queue}"] * 2, *[f"send {queue}"] * 2
    )
    sent = [each for each in found if each.name == f"send {queue}"]
    ran = [each for each in found if each.name == f"process {queue}"]
    replays = [each for each in found if each.name == "replay GET /flaky/{name}"]
    assert [each.parent_id for each in ran] == [each.span_id for each in sent]
    assert sent[1].parent_id == ran[0].span_id
    assert [each.attributes["http.response.status_code"] for each in replays] == [503, 200]
    assert [each.failed for each in replays] == [True, False]
    assert [each.attributes["respond_async.attempt"] for each in ran] == [1, 2]
    assert ran[1].attributes["celery.retries"] == 1


def test_an_error_shows_its_kind_and_not_its_words(running: Running) -> None:
    service, collector = running
    answer = service.accepted("GET", "/breaks?q=value-of-the-query", CHANNEL, headers=headers(4))
    service.result(answer.json()["meta"]["async_request_id"], CHANNEL)
    found = spans(collector, 4, "publish completion")
    replay = only(found, "replay GET /breaks")
    assert replay.failed
    assert replay.attributes["error.type"] == "RuntimeError"


def test_a_job_runs_in_the_trace_that_made_it(running: Running) -> None:
    service, collector = running
    made = service.client.post("/jobs/direct", headers=headers(5)).json()
    result = service.client.get(f"/jobs/{made['id']}").json()
    assert result == {"trace": TRACE.format(5), "baggage": {"tenant": "baggage-of-the-client"}}
    found = spans(
        collector, 5, *[f"process {service.environment['KAFKA_TOPIC']}"] * 2, "POST /jobs/{name}"
    )
    found = [each for each in found if not each.name.startswith(("fastapi", "POST"))]
    shown = [each.name.split()[0] for each in found]
    assert shown == ["send", "process", "send", "process", "own", "store"]
    ids = [each.span_id for each in found]
    assert [each.parent_id for each in found][1:] == [ids[0], ids[1], ids[2], ids[3], ids[3]]
    assert [each.attributes.get("respond_async.attempt") for each in found if each.kind == "CONSUMER"] == [1, 2]  # fmt: skip


def test_a_job_of_a_replay_is_in_the_requests_trace_with_its_baggage(running: Running) -> None:
    service, collector = running
    answer = service.accepted("POST", "/jobs/replayed", CHANNEL, headers=headers(6))
    made = service.result(answer.json()["meta"]["async_request_id"], CHANNEL)["response"]
    result = service.client.get(f"/jobs/{made['id']}").json()
    assert result == {
        "trace": TRACE.format(6),
        "baggage": {"tenant": "baggage-of-the-client"},
    }
    found = spans(
        collector, 6, *[f"process {service.environment['KAFKA_TOPIC']}"] * 3,
        *["POST /jobs/{name}"] * 2,
    )  # fmt: skip
    by_id = {each.span_id: each for each in found}
    own = only(found, "own work")
    names = [own.name]
    while (own := by_id.get(own.parent_id, own)) and own.name not in names[-1:]:
        names.append(own.name)
    queue = service.environment["KAFKA_TOPIC"]
    replayed = ["fastapi.endpoint", "POST /jobs/{name}", "replay POST /jobs/{name}"]
    hops = [f"process {queue}", f"send {queue}"]
    # The job's second attempt, its first, the replay that created it, and the request.
    assert names == ["own work", *hops, *hops, *replayed, *hops, "accept", "POST /jobs/{name}"]


def test_what_the_client_does_not_sample_makes_no_spans_and_keeps_its_ids(running: Running) -> None:
    service, collector = running
    answer = service.accepted("POST", "/orders/1", CHANNEL, headers=headers(7, sampled=False))
    envelope = service.result(answer.json()["meta"]["async_request_id"], CHANNEL)
    assert envelope["response"] == {
        "trace": TRACE.format(7),
        "baggage": {"tenant": "baggage-of-the-client"},
    }
    later = service.accepted("POST", "/orders/1", CHANNEL, headers=headers(8))
    service.result(later.json()["meta"]["async_request_id"], CHANNEL)
    spans(collector, 8, "publish completion")
    assert not collector.of(TRACE.format(7))


def test_log_lines_name_the_trace(running: Running) -> None:
    service, _ = running
    answer = service.accepted("POST", "/orders/99", CHANNEL, headers=headers(9))
    service.result(answer.json()["meta"]["async_request_id"], CHANNEL)

    def lines() -> list[dict[str, str]]:
        log = (service.directory / "w1.log").read_text().splitlines()
        said = [json.loads(line) for line in log if line.startswith("{")]
        return [line for line in said if line.get("trace_id") == TRACE.format(9)]

    wait_until(lambda: len(lines()) >= 2, within=10, what="the lines of the trace")
    assert {line["logger"] for line in lines()} == {"tests.support.traced", "respond_async.ended"}


# Of the other pools the whole worker would die.
@pytest.mark.parametrize("running", ["processes"], indirect=True)
def test_a_delivery_whose_worker_died_is_followed_by_another_of_the_same_message(
    running: Running,
) -> None:
    service, collector = running
    queue = service.environment["KAFKA_TOPIC"]
    answer = service.accepted("GET", "/kills/one", CHANNEL, headers=headers(10))
    service.result(answer.json()["meta"]["async_request_id"], CHANNEL, within=60)
    found = spans(collector, 10, f"process {queue}", f"send {queue}")
    process = only(found, f"process {queue}")
    assert process.attributes["respond_async.attempt"] == 2
    assert process.parent_id == only(found, f"send {queue}").span_id


def test_nothing_private_is_in_a_span_and_baggage_is_not_readable_in_kafka(
    running: Running, kafka: str
) -> None:
    service, collector = running
    exported = b"".join(collector.raw)
    assert b"send " in exported
    assert not [secret for secret in SECRETS if secret.encode() in exported]
    sent = text_of(kafka, service.environment["KAFKA_TOPIC"])
    assert b"traceparent" in sent
    assert not [secret for secret in SECRETS if secret.encode() in sent]


def test_logs_of_the_worker_hold_no_complaint_of_contexts(running: Running) -> None:
    service, _ = running
    for name in ("w1.log", "app.log"):
        assert "Failed to detach" not in Path(service.directory / name).read_text()
