"""However a run ends, it leaves nothing behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from tests.support.dev_command import BANNER_END, DevCommand
from tests.support.waiting import wait_until


@pytest.fixture
def command(project: Path, arguments: list[str], tmp_path: Path) -> DevCommand:
    return DevCommand(tmp_path, arguments, cwd=project)


def toy(url: str) -> Celery:
    return Celery("toy", broker=url, backend=url)


def test_ctrl_c_ends_every_child_and_a_second_run_starts_cleanly(
    command: DevCommand, project: Path, arguments: list[str], tmp_path: Path
) -> None:
    with command:
        command.ready()
        assert len(command.family()) > 10  # with runners and the worker's own children
        command.signal(signal.SIGINT)
        assert command.end() == 0
        command.assert_nothing_survives()
        assert not list(command.temporary.iterdir())
        assert command.errors == []
    again = (command.port, command.flower_port)
    with DevCommand(tmp_path, arguments, cwd=project, ports=again) as second:
        second.ready()
        second.signal(signal.SIGTERM)
        assert second.end() == 0
        second.assert_nothing_survives()


def test_ctrl_c_while_it_starts_ends_every_child(command: DevCommand) -> None:
    with command:
        command.wait_for("worker started")
        command.signal(signal.SIGINT)
        assert command.end() == 0
        command.assert_nothing_survives()


def test_the_terminal_may_just_go(command: DevCommand) -> None:
    with command:
        command.wait_for("flower started")
        command.signal(signal.SIGHUP)
        assert command.end() == 0
        command.assert_nothing_survives()


def test_a_kill_9_of_the_command_leaves_no_process(command: DevCommand) -> None:
    with command:
        command.ready()
        command.signal(signal.SIGKILL)
        command.end()
        command.assert_nothing_survives(within=5)


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux' own")
def test_a_kill_9_of_the_command_and_its_runners_leaves_no_process(command: DevCommand) -> None:
    with command:
        command.ready()
        for runner in psutil.Process(command.process.pid).children():
            runner.kill()
        command.signal(signal.SIGKILL)
        command.end()
        command.assert_nothing_survives(within=5)


def test_a_stop_lets_the_worker_finish_what_it_runs(
    project: Path, arguments: list[str], tmp_path: Path, redis_url: str, clean_redis: redis.Redis
) -> None:
    env = {"REDIS_URL": redis_url}
    with DevCommand(tmp_path, arguments, cwd=project, env=env) as command:
        command.ready()
        celery = toy(redis_url)
        result = celery.send_task("toyworker.nap", (2,))
        wait_until(lambda: not clean_redis.llen("celery"), within=10, what="the task was taken")
        command.signal(signal.SIGINT)
        assert command.end() == 0
        assert result.get(timeout=1) == "rested"
        command.assert_nothing_survives()


def test_a_second_ctrl_c_does_not_wait_for_a_running_task(
    project: Path, arguments: list[str], tmp_path: Path, redis_url: str, clean_redis: redis.Redis
) -> None:
    env = {"REDIS_URL": redis_url}
    with DevCommand(tmp_path, arguments, cwd=project, env=env) as command:
        command.ready()
        toy(redis_url).send_task("toyworker.nap", (600,))
        wait_until(lambda: not clean_redis.llen("celery"), within=10, what="the task was taken")
        command.signal(signal.SIGINT)
        command.wait_for("app ended")
        command.wait_for("flower ended")
        pressed = time.monotonic()

        def ended_by_one_more() -> bool:
            command.signal(signal.SIGINT)
            return command.process.poll() is not None

        wait_until(ended_by_one_more, within=9, every=0.2, what="the end")
        assert command.end() == 0
        assert time.monotonic() - pressed < 5  # the grace is 10
        assert "killing worker (hurried)" in command.output
        command.assert_nothing_survives()


@pytest.mark.parametrize("name", ["redis", "kafka", "worker", "app", "flower"])
def test_a_child_that_is_killed_ends_everything_with_one_line(
    command: DevCommand, name: str
) -> None:
    with command:
        command.wait_for("flower started")
        command.child(name).kill()
        assert command.end() == 1
        assert command.errors == [
            f"respond-async: {name} ended by itself (signal SIGKILL): its last lines above say why"
        ]
        command.assert_nothing_survives()


def test_an_app_that_cannot_start_ends_everything_with_its_reason_and_one_line(
    project: Path, tmp_path: Path
) -> None:
    wrong = ["--app", "no_such_module:app", "--celery", "toyworker"]
    with DevCommand(tmp_path, wrong, cwd=project) as command:
        code = command.end()
        assert code > 0
        assert "Could not import module" in command.output
        assert len(command.errors) == 1
        line = command.errors[0]
        assert line.startswith(f"respond-async: app ended by itself (exit code {code})")
        command.assert_nothing_survives()


def test_a_worker_that_ends_by_its_lifetime_gets_a_successor(
    project: Path, arguments: list[str], tmp_path: Path, redis_url: str, clean_redis: redis.Redis
) -> None:
    env = {"REDIS_URL": redis_url}
    with DevCommand(tmp_path, arguments, cwd=project, env=env) as command:
        command.ready()
        first = command.child("worker")
        celery = toy(redis_url)
        celery.control.shutdown()  # a warm one, as a lifetime is: exit code 0
        command.wait_for("worker started", times=2)
        assert command.child("worker") != first
        assert celery.send_task("toyworker.nap", (0,)).get(timeout=20) == "rested"
        command.signal(signal.SIGTERM)
        assert command.end() == 0
        command.assert_nothing_survives()


def test_a_reader_that_leaves_ends_everything(command: DevCommand) -> None:
    process = subprocess.Popen(
        command.command, cwd=command.cwd, env=command.env, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 1
        command.assert_nothing_survives()
    finally:
        process.kill()
        process.wait()


def test_the_banner_is_not_printed_of_a_service_that_does_not_answer(command: DevCommand) -> None:
    with command:
        command.wait_for("app started")
        assert BANNER_END not in command.output


def test_a_killed_runner_ends_everything_with_one_line(command: DevCommand) -> None:
    with command:
        command.wait_for("flower started")
        runner = command.child("app").parent()
        assert runner is not None
        runner.kill()
        assert command.end() == 1
        assert len(command.errors) == 1
        assert command.errors[0].startswith("respond-async: app ended by itself")
        command.assert_nothing_survives()


def test_a_child_that_floods_the_output_does_not_keep_ctrl_c_away(
    project: Path, tmp_path: Path
) -> None:
    (project / "chatty.py").write_text("while True: print('chatter')\n")
    noisy = ["--app", "chatty:app", "--celery", "toyworker"]
    with DevCommand(tmp_path, noisy, cwd=project) as command:
        command.wait_for("chatter")
        command.signal(signal.SIGINT)
        assert command.end(within=20) == 0
        command.assert_nothing_survives()
