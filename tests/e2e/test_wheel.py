"""What a user gets: the wheel alone, in a project that has packages named app, tasks and config."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")

#: The two files of docs/architecture.md, with the endpoint that they leave out.
MAIN = """\
import config.shelf
from fastapi import Depends, FastAPI
from respond_async import AsyncRequests, require_async

app = FastAPI()
AsyncRequests(app, celery="shop.worker:celery")

@app.post("/reports", dependencies=[Depends(require_async)])
async def report(body: dict):
    return {"titles": sorted(body["titles"]), "shelf": config.shelf.NAME}
"""
WORKER = """\
import tasks.greetings
from celery import Celery
import kafka_transport
from respond_async import AsyncRequests

celery = Celery("shop", broker="kafka://@KAFKA@", backend="@REDIS@")
AsyncRequests.worker(celery, app="shop.main:app")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with nothing but the wheel and a server."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "-o", place, ROOT], check=True)
    (wheel,) = place.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = {name for name in tops if not name.endswith(".dist-info")}
    assert packages == {"respond_async", "kafka_transport", "ws_hub"}
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", python, "-c", ROOT / "requirements.lock",
         wheel, "uvicorn"],
        check=True,
    )  # fmt: skip
    return python


def environment_of(port: int, redis_url: str) -> dict[str, str]:
    return {"SECRET_KEY": "k" * 64, "REDIS_URL": redis_url, "KAFKA_TOPIC": f"shop-{port}"}


@pytest.fixture
def shop(python: Path, kafka: str, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The shop's address; its worker and its app run."""
    files = {
        "shop/__init__.py": "",
        "shop/main.py": MAIN,
        "shop/worker.py": WORKER.replace("@KAFKA@", kafka).replace("@REDIS@", redis_url),
        "app/__init__.py": "raise RuntimeError('nobody asked for the shop for its own app')",
        "tasks/__init__.py": "",
        "tasks/greetings.py": "",
        "config/__init__.py": "",
        "config/shelf.py": "NAME = 'top'",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    port = free_port()
    environment = environment_of(port, redis_url)
    commands = [
        ["celery", "-A", "shop.worker", "worker", "-P", "threads", "-c", "2"],
        ["uvicorn", "shop.main:app", "--port", str(port)],
    ]
    log = (tmp_path / "log").open("wb")
    processes = [
        subprocess.Popen(
            [python, "-m", *command], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
        for command in commands
    ]
    yield f"http://127.0.0.1:{port}"
    for process in processes:
        process.kill()
        process.wait()


def test_the_shop_runs_from_the_wheel_beside_packages_of_the_same_names(
    shop: str, tmp_path: Path
) -> None:
    body = {"titles": ["b", "a"]}

    def answers() -> bool:
        try:
            return httpx.post(f"{shop}/reports", json=body).status_code == 409
        except httpx.TransportError:
            return False

    wait_until(answers, within=30, what=f"the shop: see {tmp_path}/log")
    accepted = httpx.post(f"{shop}/reports", json=body, headers={"X-Async-Request": "true"})
    assert accepted.status_code == 202, accepted.text
    meta = accepted.json()["meta"]

    def result() -> httpx.Response | None:
        answer = httpx.get(
            f"{shop}/api/v1/async_background_response/{meta['async_request_id']}/",
            params={"channel": meta["channel"]},
        )
        return answer if answer.status_code == 200 else None

    answer = wait_until(result, within=30, what=f"the result: see {tmp_path}/log")
    assert answer.json()["status"] == 200
    assert answer.json()["response"] == {"titles": ["a", "b"], "shelf": "top"}


def test_the_wheel_brings_its_command_line(
    python: Path, shop: str, redis_url: str, tmp_path: Path
) -> None:
    command = str(python.parent / "respond-async")
    environment = environment_of(int(shop.rpartition(":")[2]), redis_url)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert run("--version").stdout.startswith("respond-async ")
    doctor = ("doctor", "-A", "shop.worker", "--url", shop, "--json")
    wait_until(lambda: run(*doctor).returncode == 0, within=60, what=f"well: {tmp_path}/log")
    found = {one["subject"]: one for one in json.loads(run(*doctor).stdout)["findings"]}
    assert "there is no hub" in found[f"hub {shop}"]["what"]
    assert run(*doctor, "--hub", shop).returncode == 1
    done = run("send", "POST", f"{shop}/reports", "-d", '{"titles": ["b", "a"]}')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"titles": ["a", "b"], "shelf": "top"}
    # What the extra brings is named.
    assert "pip install 'respond-async[dev]'" in run("dev").stderr
