"""The options of one run."""

from pathlib import Path

import pytest

from respond_async.dev.errors import OptionError
from respond_async.dev.options import Options


def test_without_anything_it_is_the_reference_service_with_embedded_servers() -> None:
    options = Options.read([], {})
    assert (options.app, options.celery) == ("app.main:app", "tasks")
    assert (options.port, options.flower_port) == (8000, 5555)
    assert options.host == options.flower_host == "127.0.0.1"
    assert options.redis_url is None
    assert options.kafka_bootstrap_servers is None


def test_an_empty_variable_counts_as_none() -> None:
    names = ("PORT", "FLOWER_PORT", "FLOWER_ADDRESS", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")
    assert Options.read([], dict.fromkeys(names, "")) == Options.read([], {})


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http", "80 ", "٨٠٠٠", "1e3"])
@pytest.mark.parametrize("variable", ["PORT", "FLOWER_PORT"])
def test_what_is_no_port_is_refused_by_its_variable(variable: str, port: str) -> None:
    with pytest.raises(OptionError, match=f"{variable}=.* is no port"):
        Options.read([], {variable: port})


def test_one_port_cannot_serve_both() -> None:
    with pytest.raises(OptionError, match="both 5555"):
        Options.read([], {"PORT": "5555"})


def test_configuration_files_are_used_where_they_usually_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Options.read([], {}).flower_conf is None
    assert Options.read([], {}).log_config is None
    (tmp_path / "config").mkdir()
    for name in ("flower.py", "uvicorn.json"):
        (tmp_path / "config" / name).touch()
    assert Options.read([], {}).flower_conf == Path("config/flower.py")
    assert Options.read([], {}).log_config == Path("config/uvicorn.json")


@pytest.mark.parametrize("option", ["--flower-conf", "--log-config"])
def test_a_file_that_is_not_there_is_refused(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option} nowhere.conf: there is no such file"):
        Options.read([option, "nowhere.conf"], {})
