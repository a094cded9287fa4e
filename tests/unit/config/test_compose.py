"""compose.yaml and the image hold together, as far as that can be told without an engine."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from respond_async import Settings

ROOT = Path(__file__).parents[3]
OURS = ("app", "worker", "hub", "flower")
REFERENCE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def command(service: dict[str, Any]) -> str:
    return " ".join(service["command"])


def test_the_whole_service_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {*OURS, "redis", "kafka"}


def test_docker_compose_takes_it() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run(
            [docker, "compose", "version"], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("docker compose is not installed: the structure alone was tested")
    checked = subprocess.run(
        [docker, "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"],
        check=False,
        env={"SECRET_KEY": "k" * 64, "FLOWER_BASIC_AUTH": "a:b", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_each_service_is_watched_and_started_again(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period"} <= set(check), name
        assert service["restart"] == "unless-stopped", name


def test_what_a_service_needs_is_there_and_healthy_before_it_starts(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in OURS:
        for needed, how in services[name]["depends_on"].items():
            assert "healthcheck" in services[needed]
            assert how == {"condition": "service_healthy"}, name
    for name in ("app", "worker", "flower"):
        assert set(services[name]["depends_on"]) == {"redis", "kafka"}
    assert set(services["hub"]["depends_on"]) == {"redis"}


def test_every_variable_that_is_set_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name in OURS:
        unknown = set(services[name]["environment"]) - known
        assert unknown <= {"FLOWER_BASIC_AUTH"}, name


def test_every_default_is_a_value_the_settings_take(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        for variable, value in services[name]["environment"].items():
            if variable != "SECRET_KEY" and value is not None:
                found = REFERENCE.fullmatch(value)
                monkeypatch.setenv(variable, (found[2] or "") if found else value)
        assert Settings(secret_key=[SecretStr("k" * 64)]).environment == "production"


def test_secrets_have_no_default(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        assert services[name]["environment"]["SECRET_KEY"].startswith("${SECRET_KEY:?")
    assert services["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith(
        "${FLOWER_BASIC_AUTH:?"
    )


def test_the_worker_scales_and_is_given_time_to_finish(
    services: dict[str, dict[str, Any]],
) -> None:
    worker = services["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker
    assert worker["stop_grace_period"] == "5m"
    assert command(worker) == "celery -A tasks worker"


def test_ours_run_without_root_and_cannot_write_to_themselves(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in OURS:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER (?!root)\w+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)


def test_redis_and_kafka_are_not_open_to_the_outside(services: dict[str, dict[str, Any]]) -> None:
    assert "ports" not in services["redis"]
    assert "ports" not in services["kafka"]


def test_what_they_hold_is_kept_in_volumes(compose: dict[str, Any]) -> None:
    for name in ("redis", "kafka"):
        volume, _ = compose["services"][name]["volumes"][0].split(":", 1)
        assert volume in compose["volumes"]


def test_kafka_runs_by_kraft_and_its_advertised_address_is_the_one_the_others_use(
    services: dict[str, dict[str, Any]],
) -> None:
    kafka = services["kafka"]
    assert re.fullmatch(r"apache/kafka:4\.\d+\.\d+", kafka["image"])
    assert kafka["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"
    address = services["app"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
    assert kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"] == (
        f"PLAINTEXT://{REFERENCE.fullmatch(address)[2]}"  # type: ignore[index]
    )


def test_the_ports_the_checks_ask_are_the_ports_that_listen(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in ("app", "hub", "flower"):
        inside = services[name]["ports"][0].rsplit(":", 1)[1]
        assert f":{inside}/" in services[name]["healthcheck"]["test"][-1]
        assert name == "flower" or f"--port {inside}" in command(services[name])


def test_the_image_holds_each_of_our_packages_and_only_what_is_copied() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--)(\S+) ", dockerfile, re.MULTILINE)
    for source in copied:
        assert (ROOT / source).exists(), source
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(copied) == set(allowed)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    page = {"clients/js/src"}
    assert wheel | {"app", "tasks", "config"} | page == set(copied) - {"requirements.lock"}


def test_the_image_takes_dependencies_by_their_hashes_only() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert "--require-hashes" in dockerfile
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^\S+==\S+.*$", lock, re.MULTILINE)
    assert pinned
    assert all(line.endswith("\\") for line in pinned)


def test_no_registry_is_named(services: dict[str, dict[str, Any]]) -> None:
    images = [service["image"] for service in services.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        assert not re.match(r"[^/]+[.:][^/]*/", image), image
