"""The benchmarks of replays, accepting and jobs run from begin to end; figures are for `make bench`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.kafka


def said(script: str, kafka: str) -> str:
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}.py", "--quick"],
        cwd=ROOT,
        env=os.environ | {"KAFKA_TEST_BOOTSTRAP_SERVERS": kafka},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_of_replays(kafka: str) -> None:
    shown = said("replay_bench", kafka)
    for row in (
        "worker / loop of ASGITransport", "worker / loop of AsyncClient",
        "worker / consumer it replaces", "50 replays in flight",
    ):  # fmt: skip
        assert row in shown


def test_of_metrics(kafka: str) -> None:
    shown = said("metrics_bench", kafka)
    for row in ("calls alone", "accepting", "replaying"):
        assert row in shown


def test_of_accepting(kafka: str) -> None:
    shown = said("accept_bench", kafka)
    for row in ("answered directly", "capture", "bare aiokafka", "apply_async"):
        assert row in shown


def test_of_jobs(kafka: str) -> None:
    shown = said("jobs_bench", kafka)
    for row in ("over kafka", "over redis", "create_task / apply_async", "5,000 jobs", "one prune"):
        assert row in shown
