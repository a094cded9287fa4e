import subprocess
import sys

import pytest
from pydantic import ValidationError

import respond_async
from respond_async import Settings, settings_table


def test_every_setting_has_a_meaning_and_stands_in_the_table() -> None:
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"| `{name.upper()}` |" in table
    assert "| `KAFKA_TOPIC` | `async_requests` |" in table
    assert "| `RESULT_TTL_SECONDS` | `86400` |" in table


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("WORKER_IMPORTS", "a.b, c", "worker_imports", ["a.b", "c"]),
        ("WORKER_IMPORTS", '["a"]', "worker_imports", ["a"]),
        (
            "KAFKA_CLIENT_PROPERTIES",
            '{"fetch.wait.max.ms": 10, "sasl.username": "u"}',
            "kafka_client_properties",
            {"fetch.wait.max.ms": 10, "sasl.username": "u"},
        ),
        ("WORKER_LIFETIME_SECONDS", "3600", "worker_lifetime_seconds", 3600.0),
        ("KAFKA_TOPIC", "", "kafka_topic", "async_requests"),
    ],
)
def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KAFKA_TOPIC", "with space"),
        ("ASGI_APP", "no-colon"),
        ("MAX_REQUEST_BYTES", "0"),
        ("KAFKA_AUTO_OFFSET_RESET", "newest"),
        ("SECRET_KEY", "too-short"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert variable.lower() in str(raised.value).lower()
    assert value not in str(raised.value) or variable == "MAX_REQUEST_BYTES"


def test_every_name_of_the_face_is_there() -> None:
    for name in respond_async.__all__:
        assert getattr(respond_async, name) is not None


def test_the_pool_alone_needs_no_web_framework() -> None:
    code = "import sys, respond_async.pool; print({'fastapi', 'starlette', 'httpx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_cluster_is_refused_with_what_can_be_had_instead() -> None:
    with pytest.raises(ValidationError, match=r"redis\+sentinel://"):
        Settings(redis_url="redis+cluster://h")
