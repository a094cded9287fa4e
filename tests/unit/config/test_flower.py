"""Flower reads the service's configuration as it is meant."""

from collections.abc import Iterator

import pytest
from flower.options import options
from flower.views.tasks import visible_task_columns

CONF = "config/flower.py"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("BASIC_AUTH", "ADDRESS", "PORT", "URL_PREFIX", "TASKS_COLUMNS"):
        monkeypatch.delenv(f"FLOWER_{name}", raising=False)
    monkeypatch.setattr("config.logging.configure_logging", lambda: None)
    before = {option: option._value for option in options._options.values()}
    yield
    for option, value in before.items():
        option._value = value


def test_without_a_password_it_listens_to_this_machine_only() -> None:
    options.parse_config_file(CONF)
    assert options.basic_auth == []
    assert options.address == "127.0.0.1"


def test_a_password_from_the_environment_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "ann:one,bob:two")
    monkeypatch.setenv("FLOWER_PORT", "6666")
    monkeypatch.setenv("FLOWER_URL_PREFIX", "flower")
    options.parse_config_file(CONF)
    assert options.basic_auth == ["ann:one", "bob:two"]
    assert options.address == "0.0.0.0"
    assert options.port == 6666
    assert options.url_prefix == "flower"


def test_the_list_of_tasks_shows_a_replays_method_and_path_but_neither_kwargs_nor_result() -> None:
    options.parse_config_file(CONF)
    shown = [slug for slug, _ in visible_task_columns(options.tasks_columns)]
    assert shown == options.tasks_columns.split(",")
    assert "args" in shown
    assert not {"kwargs", "result"} & set(shown)
