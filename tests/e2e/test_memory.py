"""Bodies of 100 MB pass the app and the worker in bounded memory."""

import base64
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from tests.support.differential.wire import CHANNEL
from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

MB = 1024 * 1024
SIZE = 100 * MB
#: What one large request may add to a process, of 100 MB that pass through it.
MOST = 40 * MB
RESULT = "/api/v1/async_background_response/{}/"
HEADERS = {"X-Async-Request": CHANNEL}


def peak(pid: int) -> int:
    """The most memory that a process has held since the peak was last forgotten, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def forget_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return psutil.Process(pid).memory_info().rss


@pytest.fixture(scope="module", params=["redis", "file"])
def service(
    request: pytest.FixtureRequest,
    kafka: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp(request.param)
    store = {"redis": "redis", "file": f"file://{directory}/claims"}[request.param]
    settings = {"ASGI_APP": "tests.support.differential.zoo:bare", "CLAIM_STORE": store}
    with Service(
        directory,
        kafka,
        redis_url,
        **settings,
        MAX_REQUEST_BYTES=str(SIZE),
        MAX_RESPONSE_BYTES=str(SIZE),
    ) as running:
        running.worker("w1")
        yield running


def pids(service: Service) -> list[int]:
    assert service.process is not None
    worker = service.workers[0].process
    assert worker is not None
    return [service.process.pid, worker.pid]


def kept(service: Service) -> list[object]:
    """Bodies of requests in the claim store."""
    with redis.Redis.from_url(service.environment["REDIS_URL"]) as store:
        in_redis = list(store.scan_iter("respond_async:body:*"))
    return [*in_redis, *(service.directory / "claims").glob("*body*")]


def warm_up(service: Service) -> dict[int, int]:
    answer = service.accepted("POST", "/digest/", CHANNEL, content=bytes(3 * MB))
    service.result(answer.json()["meta"]["async_request_id"], CHANNEL)
    return {pid: forget_peak(pid) for pid in pids(service)}


def added(before: dict[int, int]) -> list[int]:
    return [(peak(pid) - rss) // MB for pid, rss in before.items()]


def test_a_request_of_100_mb(service: Service) -> None:
    before = warm_up(service)
    parts = (bytes([part]) * MB for part in range(100))
    answer = service.accepted("POST", "/digest/", CHANNEL, content=parts)
    result = service.result(answer.json()["meta"]["async_request_id"], CHANNEL, within=120)
    seen = hashlib.sha256()
    for part in range(100):
        seen.update(bytes([part]) * MB)
    assert base64.b64decode(result["response"]).decode() == f"{SIZE} {seen.hexdigest()}"
    grown = added(before)
    print(f"app +{grown[0]} MB, worker +{grown[1]} MB")
    assert max(grown) < MOST // MB


def test_an_answer_of_100_mb(service: Service) -> None:
    before = warm_up(service)
    answer = service.accepted("GET", f"/stream?parts=100&size={MB}", CHANNEL)
    url = RESULT.format(answer.json()["meta"]["async_request_id"])

    def size() -> int:
        with service.client.stream("GET", url, headers=HEADERS, timeout=120) as result:
            assert result.status_code in (200, 202)
            total = sum(len(part) for part in result.iter_bytes())
            return total if result.status_code == 200 else 0

    # base64: four characters for three bytes.
    assert (wait_until(size, within=120, what="the answer") or 0) > SIZE * 4 // 3
    grown = added(before)
    print(f"app +{grown[0]} MB, worker +{grown[1]} MB")
    assert max(grown) < MOST // MB


def test_a_client_that_leaves_in_mid_body_leaves_nothing(service: Service) -> None:
    before = warm_up(service)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            head = f"POST /digest/ HTTP/1.1\r\nHost: x\r\nX-Async-Request: {CHANNEL}\r\n"
            client.sendall(f"{head}Content-Length: {50 * MB}\r\n\r\n".encode() + bytes(5 * MB))
    wait_until(lambda: not kept(service), within=20, what="the removal of the pieces")
    assert max(added(before)) < MOST // MB
    assert service.client.get("/livez").status_code == 200
