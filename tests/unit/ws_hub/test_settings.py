import pytest
from pydantic import ValidationError

from ws_hub import HubSettings

LONG = "x" * 40


def secrets_of(settings: HubSettings) -> list[str]:
    return [secret.get_secret_value() for secret in settings.secret_key]


def test_secrets_come_comma_separated_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", f"{LONG}1, {LONG}2")
    assert secrets_of(HubSettings()) == [f"{LONG}1", f"{LONG}2"]


def test_a_secret_that_begins_with_a_bracket_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", f"[{LONG}")
    assert secrets_of(HubSettings()) == [f"[{LONG}"]


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    monkeypatch.setenv("REDIS_URL", "")
    assert HubSettings().secret_key == []
    assert HubSettings().redis_url == "redis://localhost:6379/0"


@pytest.mark.parametrize("short", ["short-secret", f"{LONG},short-secret"])
def test_a_short_secret_is_refused_with_what_to_do_and_without_the_secret(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", short)
    with pytest.raises(ValidationError) as caught:
        HubSettings()
    text = str(caught.value)
    assert "at least 32" in text
    assert "token_urlsafe" in text
    assert "short-secret" not in text


def test_a_larger_hash_needs_a_longer_secret() -> None:
    with pytest.raises(ValidationError, match="at least 64"):
        HubSettings.model_validate({"secret_key": LONG, "jwt_algorithm": "HS512"})


def test_secrets_do_not_show_in_a_repr() -> None:
    assert LONG not in repr(HubSettings.model_validate({"secret_key": LONG}))


def test_origins_come_as_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_ALLOWED_ORIGINS", '["https://a.example", "https://b.example"]')
    assert HubSettings().hub_allowed_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"jwt_algorithm": "none"}, "jwt_algorithm"),
        ({"jwt_public_key": "-----BEGIN PRIVATE KEY-----"}, "private key does not belong"),
        ({"jwt_public_key": "-----BEGIN PUBLIC KEY-----"}, "set JWT_ALGORITHM"),
        ({"redis_url": "localhost:6379"}, "redis://"),
        ({"redis_url": "redis+sentinel://h:26379"}, "names the master"),
        ({"hub_send_queue_messages": 0}, "hub_send_queue_messages"),
        ({"log_level": "LOUD"}, "log_level"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HubSettings.model_validate(wrong)


def test_every_setting_has_a_line_of_meaning() -> None:
    for name, field in HubSettings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description


def test_the_log_level_may_be_written_in_small_letters() -> None:
    assert HubSettings.model_validate({"log_level": "debug"}).log_level == "DEBUG"
