"""The probe reads what the worker wrote, and believes nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from respond_async.probe import main, sick_worker


def wrote(path: Path, **state: float) -> str:
    path.write_text(json.dumps({"at": time.monotonic(), "main_loop": 0, "pool_loop": 0, **state}))
    return str(path)


def test_a_worker_whose_loops_turn_is_healthy(tmp_path: Path) -> None:
    assert sick_worker(wrote(tmp_path / "beat"), 60) is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"main_loop": 61}, "main loop hangs for 61 s"),
        ({"pool_loop": 61}, "event loop of the worker's pool is blocked for 61 s"),
        ({"at": time.monotonic() - 100}, "no sign of life"),
        # Of a time before the host was started anew.
        ({"at": time.monotonic() + 1000}, "no sign of life"),
    ],
)
def test_one_that_hangs_is_sick(tmp_path: Path, state: dict[str, float], reason: str) -> None:
    assert reason in str(sick_worker(wrote(tmp_path / "beat", **state), 60))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"at": "x", "main_loop": 0}'])
def test_what_is_no_heartbeat_is_sick(tmp_path: Path, text: str) -> None:
    (tmp_path / "beat").write_text(text)
    assert "is no heartbeat" in str(sick_worker(str(tmp_path / "beat"), 60))


def test_without_a_file_it_is_sick(tmp_path: Path) -> None:
    assert "no worker has written" in str(sick_worker(str(tmp_path / "none"), 60))


def test_wrong_use_says_how(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKER_HEARTBEAT_FILE", raising=False)
    assert main([]) == main(["worker", "more"]) == main(["worker"]) == 2
    assert "set WORKER_HEARTBEAT_FILE" in capsys.readouterr().err


def test_it_imports_nothing_that_takes_time() -> None:
    code = "import sys, respond_async.probe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "fastapi", "celery", "redis"} & set(done.stdout.split())
