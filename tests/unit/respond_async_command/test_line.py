"""The command line itself: its help, its wrong uses, what it says of settings."""

import json
import logging
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner, Result

from respond_async.command.line import line
from tests.support.ports import free_port


def run(*arguments: str) -> Result:
    try:
        return CliRunner().invoke(line, arguments)
    finally:
        # A command has its process for itself; `doctor` logs nothing.
        logging.disable(logging.NOTSET)


def test_it_says_its_version() -> None:
    assert run("--version").stdout == f"respond-async {version('respond-async')}\n"


@pytest.mark.parametrize("command", ["dev", "probe", "doctor", "send", "tail", "bench"])
def test_every_command_is_listed_and_has_help(command: str) -> None:
    assert f"  {command} " in run("--help").stdout
    if command not in {"dev", "probe"}:  # these read their own arguments
        assert "--help" in run(command, "--help").stdout


def test_dev_and_probe_have_the_help_of_the_modules_they_run() -> None:
    told = run("dev", "--help")
    assert told.exit_code == 0
    assert "usage: respond-async dev" in told.stdout
    told = run("probe", "--help")
    assert told.exit_code == 2
    assert "respond-async probe worker" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["send", "GET", "ftp://x"], "no URL of http"),
        (["send", "GET", "http://x", "-H", "no colon"], "NAME: VALUE"),
        (["send", "POST", "http://x", "-d", "@/no/such/file"], "No such file"),
        (["tail"], "--channel NAME or --token JWT"),
        (["tail", "--channel", "c" * 20, "--token", "t"], "--channel NAME or --token JWT"),
        (["bench", "http://x", "-n", "0"], "-n"),
    ],
)
def test_a_wrong_use_says_what_is_right(arguments: list[str], why: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    # Wrapped, and in a box, in a terminal that is narrow.
    assert why in " ".join(done.stderr.replace("│", " ").split())


def test_nothing_there_to_answer_is_exit_code_1() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (["send", "GET", url], ["tail", url, "--channel", "c" * 20]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert url in done.stderr
        assert done.stdout == ""
    done = run("bench", url, "-n", "3", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["errors"] == {"ConnectError": 3}


def test_a_wrong_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "swordfish")
    monkeypatch.setenv("KAFKA_PARTITIONS", "swordfish-many")
    done = run("doctor", "--json")
    assert done.exit_code == 1
    assert "swordfish" not in done.output
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["KAFKA_PARTITIONS"]["level"] == "failure"
    assert found["KAFKA_PARTITIONS"]["remedy"]


def test_json_that_is_none_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_CLIENT_PROPERTIES", "{swordfish")
    done = run("doctor")
    assert done.exit_code == 1
    assert "KAFKA_CLIENT_PROPERTIES" in done.output
    assert "swordfish" not in done.output


def test_the_probe_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys; sys.argv = ['respond-async', 'probe', 'worker']\n"
        "from respond_async.command.entry import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode in {1, 2}
    assert "respond_async.probe" in done.stdout.split()
    assert not {"typer", "rich", "httpx", "pydantic"} & set(done.stdout.split())
