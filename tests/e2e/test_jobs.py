"""The examples of background jobs, by HTTP alone: created, watched, cancelled, and their results."""

import csv
import hashlib
import json
import secrets
import sqlite3
import subprocess
from asyncio import WriteTransport
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port
from tests.support.service import Service
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

TASKS = "/api/v1/tasks/"
FILES = "/api/v1/demo/files"
EXPORTS = "/api/v1/demo/exports/{}"
ROWS = 1_000_000
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def smtp_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(
    kafka: str, redis_url: str, directory: Path, smtp_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:  # fmt: skip
    examples = {
        "EXAMPLES_DIRECTORY": str(directory),
        "EXAMPLES_SMTP_HOST": "127.0.0.1",
        "EXAMPLES_SMTP_PORT": str(smtp_port),
    }
    with Service(tmp_path_factory.mktemp("service"), kafka, redis_url, **examples) as running:
        running.worker("w1")
        yield running


@pytest.fixture
def owner(service: Service) -> Iterator[httpx.Client]:
    with user(service) as client:
        yield client


def user(service: Service) -> httpx.Client:
    """Another one each time."""
    bearer = {"Authorization": f"Bearer {service.token(secrets.token_hex(4))}"}
    return httpx.Client(base_url=service.url, headers=bearer, timeout=60)


def created(owner: httpx.Client, name: str, **arguments: Any) -> str:
    answer = owner.post(TASKS, json={"name": name, "arguments": arguments})
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] in ("PENDING", "RUNNING")
    return str(answer.json()["id"])


def polled(
    owner: httpx.Client, task_id: str, enough: Callable[[dict[str, Any]], bool], within: float = 60
) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = owner.get(f"{TASKS}{task_id}/").raise_for_status().json()
        return job if enough(job) else None

    return wait_until(look, within=within, what=f"{task_id} to come so far")


def ended(owner: httpx.Client, task_id: str, within: float = 60) -> dict[str, Any]:
    return polled(owner, task_id, lambda job: job["completed"] is not None, within)


def events(owner: httpx.Client, task_id: str) -> list[dict[str, Any]]:
    with owner.stream("GET", f"{TASKS}{task_id}/events") as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_job_is_watched_by_polling_and_by_events_to_its_result(owner: httpx.Client) -> None:
    task_id = created(owner, "countdown", seconds=3)
    told = events(owner, task_id)
    assert [each["status"] for each in told][-1] == "COMPLETED"
    percents = [each["progress"]["percent"] for each in told if each["progress"]]
    assert percents == sorted(percents)
    assert len(set(percents)) == 3
    assert told[-1]["result"] == "liftoff"
    assert ended(owner, task_id) == told[-1]
    assert [each["id"] for each in owner.get(TASKS).json()["tasks"]] == [task_id]

    other = created(owner, "countdown", seconds=2)
    seen = polled(owner, other, lambda job: job["progress"] is not None)
    assert seen["status"] == "RUNNING"
    assert seen["progress"]["message"].endswith("s to go")
    assert ended(owner, other)["result"] == "liftoff"


def test_a_job_that_runs_is_cancelled(owner: httpx.Client) -> None:
    task_id = created(owner, "countdown", seconds=600)
    polled(owner, task_id, lambda job: job["status"] == "RUNNING")
    assert owner.post(f"{TASKS}{task_id}/cancel").status_code == 200
    assert ended(owner, task_id)["status"] == "CANCELLED"


class Growth:
    """How many MiB a process needed at most beyond what it had, as Linux counts."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._before = self._mib("VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")

    def mib(self) -> float:
        return self._mib("VmHWM") - self._before

    def _mib(self, name: str) -> float:
        line = next(one for one in self._status.read_text().splitlines() if one.startswith(name))
        return int(line.split()[1]) / 1024


def growth(of: Service | Worker) -> Growth:
    assert of.process is not None
    return Growth(of.process.pid)


def test_a_large_file_is_read_in_pieces_with_progress(
    service: Service, owner: httpx.Client, tmp_path: Path
) -> None:
    text = tmp_path / "large.txt"
    lines = b"".join(b"%d words of  a line\tnumber %x\n" % (n, n * n) for n in range(50_000))
    with text.open("wb") as file:
        for _ in range(100):
            file.write(lines)
    assert text.stat().st_size > 150 * MIB
    app, worker = growth(service), growth(service.workers[0])
    with text.open("rb") as file:
        answer = owner.put(FILES, content=file)
    assert answer.status_code == 201, answer.text
    assert answer.json()["bytes"] == text.stat().st_size
    task_id = created(owner, "text_statistics", file=answer.json()["file"])
    progress = [each["progress"]["percent"] for each in events(owner, task_id) if each["progress"]]
    job = ended(owner, task_id)
    counted = subprocess.run(
        ["wc", "-lwc", text], check=True, capture_output=True, text=True, env={"LC_ALL": "C"}
    ).stdout.split()
    with text.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert job["result"] == {
        "lines": int(counted[0]),
        "words": int(counted[1]),
        "bytes": int(counted[2]),
        "sha256": digest,
    }
    assert progress == sorted(progress)
    assert len(set(progress)) > 2, "it was not watched"
    assert app.mib() < 40
    assert worker.mib() < 40
    with user(service) as other:
        stolen = created(other, "text_statistics", file=answer.json()["file"])
        assert ended(other, stolen)["error"]["code"] == "no_such_file"


class Mailbox:
    """Takes mail, but for some; breaks the connection at the second mail it is given."""

    def __init__(self) -> None:
        self.mails: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.asked[address] += 1
        if address.startswith("gone"):
            return "550 5.1.1 No such mailbox"
        if address.startswith("grey") and self.asked[address] == 1:
            return "451 4.7.1 Come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.asked.total() == 2:
            assert isinstance(server.transport, WriteTransport)
            server.transport.abort()
        self.mails.update(envelope.rcpt_tos)
        return "250 OK"


def test_bulk_mail_says_who_was_refused_and_bears_a_server_that_goes_away(
    owner: httpx.Client, smtp_port: int
) -> None:
    taken = [f"user{n}@example.org" for n in range(40)]
    refused = ["gone1@example.org", "gone2@example.org"]
    mailbox = Mailbox()
    task_id = created(
        owner, "bulk_mail", sender="news@example.org", subject="Größe", text="Hello.\n",
        recipients=[*taken, *refused, "grey@example.org"],
    )  # fmt: skip

    def complained() -> bool:
        return "Connection refused" in owner.get(f"{TASKS}{task_id}/logs").text

    wait_until(complained, within=30, what="an attempt without a server")
    controller = Controller(mailbox, hostname="127.0.0.1", port=smtp_port)
    controller.start()
    try:
        job = ended(owner, task_id)
    finally:
        controller.stop()
    assert job["status"] == "COMPLETED", job
    report = job["result"]
    assert report["sent"] == 41
    assert [one["recipient"] for one in report["refused"]] == refused
    assert {one["code"] for one in report["refused"]} == {550}
    assert report["connections"] > 1
    # One was under way when the connection broke: it was taken, and was sent again.
    assert set(mailbox.mails) == {*taken, "grey@example.org"}
    assert sorted(mailbox.mails.values())[-2:] == [1, 2]
    assert job["progress"]["percent"] == 100


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_million_rows_are_exported_and_downloaded(
    service: Service, owner: httpx.Client, directory: Path, tmp_path: Path, form: str
) -> None:
    app, worker = growth(service), growth(service.workers[0])
    task_id = created(owner, "order_export", file_format=form)
    url = EXPORTS.format(task_id)
    assert owner.get(url).status_code == 409
    assert any(
        0 < each["progress"]["percent"] < 100 for each in events(owner, task_id) if each["progress"]
    )
    job = ended(owner, task_id, within=120)
    assert job["status"] == "COMPLETED", job
    with user(service) as other:
        assert other.get(url).status_code == 404
    assert service.client.get(url).status_code == 401
    copy = tmp_path / "copy"
    with owner.stream("GET", url) as answer, copy.open("wb") as file:
        assert answer.headers["content-disposition"] == f'attachment; filename="orders.{form}"'
        for piece in answer.iter_bytes():
            file.write(piece)
    assert copy.stat().st_size == job["result"]["bytes"]
    with (
        copy.open(newline="") as file,
        closing(sqlite3.connect(directory / "orders.sqlite")) as database,
    ):
        rows = read(form, file)
        for row in database.execute("select * from orders order by id"):
            assert next(rows) == row
        assert next(rows, None) is None
    assert job["result"]["rows"] == ROWS
    assert app.mib() < 40
    assert worker.mib() < 40


def read(form: str, file: Any) -> Iterator[tuple[Any, ...]]:
    if form == "json":
        yield from (tuple(row.values()) for row in json.load(file))
        return
    rows = csv.reader(file)
    assert next(rows) == ["id", "customer", "article", "pieces", "price"]
    for number, customer, article, pieces, price in rows:
        yield int(number), customer, article, int(pieces), float(price)


def test_an_export_that_is_cancelled_leaves_no_file(owner: httpx.Client, directory: Path) -> None:
    before = files(directory)
    task_id = created(owner, "order_export", file_format="json")
    # Not its progress, of which one hears late: it takes seconds from here on.
    wait_until(lambda: files(directory) - before, within=60, what="a file", every=0.01)
    owner.post(f"{TASKS}{task_id}/cancel").raise_for_status()
    assert ended(owner, task_id)["status"] == "CANCELLED"
    assert files(directory) == before
    assert owner.get(EXPORTS.format(task_id)).status_code == 409


def files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file() and path.parent != directory}


def test_files_are_removed_after_a_while(
    kafka: str, redis_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    examples = {
        "EXAMPLES_DIRECTORY": str(tmp_path),
        "EXAMPLES_ORDERS": "100",
        "EXAMPLES_FILE_TTL_SECONDS": "4",
    }
    with Service(tmp_path_factory.mktemp("short"), kafka, redis_url, **examples) as service:
        service.worker("w1")
        with user(service) as owner:
            assert owner.put(FILES, content=b"words").status_code == 201
            task_id = created(owner, "order_export", file_format="json")
            assert ended(owner, task_id)["result"]["rows"] == 100
            assert len(owner.get(EXPORTS.format(task_id)).json()) == 100
            assert len(files(tmp_path)) == 2
            wait_until(lambda: not files(tmp_path), within=30, what="the files to be removed")
            assert owner.get(EXPORTS.format(task_id)).status_code == 410
