"""A small project of a user's: an app, a worker, and nothing of this repository's own service."""

from pathlib import Path

import pytest

APP = """\
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/env")
def env() -> dict[str, str]:
    return dict(os.environ)
"""

WORKER = """\
import os
import time

from celery import Celery

celery = Celery("toy", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
celery.conf.update(worker_concurrency=2, worker_pool="prefork", broker_connection_timeout=2)


@celery.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"
"""

ARGUMENTS = ["--app", "toyapp:app", "--celery", "toyworker", "--path", "/env?full=1"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "toyapp.py").write_text(APP)
    (folder / "toyworker.py").write_text(WORKER)
    return folder


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    return ARGUMENTS
