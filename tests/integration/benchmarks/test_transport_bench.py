"""`make bench-transport` still runs; its figures are not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[3]


def test_every_kind_of_measurement_still_works(kafka: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            sys.executable, "benchmarks/transport_bench.py", "--quick",
            "--only", "publish,drain,idle,backlog", "--without", "redis,stock",
            "--json", str(report),
        ],
        cwd=ROOT, env=os.environ | {"KAFKA_TEST_BOOTSTRAP_SERVERS": kafka},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(report.read_text())["results"]
    measured = {
        f"{name} {who}": list(turns[0])
        for name, result in results.items()
        for who, turns in result["samples"].items()
    }
    assert measured == {
        "publish kafka": ["rate", "cpu_us"],
        "publish memory": ["rate", "cpu_us"],
        "drain kafka": ["rate", "cpu_us", "rss_mb"],
        "idle kafka": ["p50", "p99", "cpu_ms"],
        "backlog many": ["rate", "cpu_us", "rss_mb"],
        "backlog few": ["rate", "cpu_us", "rss_mb"],
    }
    assert not any(result["failures"] for result in results.values())
    assert results["publish"]["rows"][1]["ratio"] > 0
