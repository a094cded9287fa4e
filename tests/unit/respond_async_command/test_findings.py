"""What is judged without a server: settings, clocks, percentiles."""

from pathlib import Path
from typing import Any

import pytest

from respond_async import Settings
from respond_async.command.bench import percentile
from respond_async.command.look_at_redis import clock
from respond_async.command.look_at_settings import look_at_settings, redis_address

KEY = "k" * 64


def levels(**settings: Any) -> dict[str, str]:
    given = Settings(**{"secret_key": KEY, **settings})
    return {one.subject: one.level for one in look_at_settings(given)}


def test_settings_of_a_sound_production_are_well() -> None:
    assert levels() == {"settings": "ok"}
    assert levels(redis_url="redis://:pw@redis.internal/0") == {"settings": "ok"}


def test_production_without_a_secret_fails_and_development_is_told() -> None:
    assert levels(secret_key=[]) == {"SECRET_KEY": "failure"}
    assert levels(secret_key=[], environment="development") == {
        "SECRET_KEY": "warning",
        "ENVIRONMENT": "warning",
    }


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"jwt_algorithm": "RS256"}, {"JWT_ALGORITHM": "failure"}),
        ({"hub_allowed_origins": ["*"]}, {"HUB_ALLOWED_ORIGINS": "warning"}),
        ({"metrics_port": 9100, "metrics_address": "0.0.0.0"}, {"METRICS_PORT": "warning"}),
        ({"metrics_port": 9100}, {"settings": "ok"}),
        ({"redis_url": "redis://redis.internal/0"}, {"REDIS_URL": "warning"}),
        (
            {"redis_url": "redis+sentinel://one,two/mymaster/0"},
            {"REDIS_URL": "warning"},
        ),
    ],
)
def test_what_fits_no_production_is_told(settings: dict[str, Any], found: dict[str, str]) -> None:
    assert levels(**settings) == found


def test_a_claim_store_that_cannot_be_written_fails(tmp_path: Path) -> None:
    assert levels(claim_store=f"file://{tmp_path}/made/by/the/service") == {"settings": "ok"}
    (tmp_path / "file").touch()
    assert levels(claim_store=f"file://{tmp_path}/file/none") == {"CLAIM_STORE": "failure"}


def test_a_redis_is_shown_without_its_password() -> None:
    for url, shown in (
        ("redis://user:swordfish@there:7000/1", "there:7000"),
        ("rediss://:swordfish@there", "there:6379"),
        ("redis+sentinel://:swordfish@one,two:7/mymaster/0", "one:26379,two:7"),
    ):
        assert redis_address(Settings(redis_url=url)) == shown


@pytest.mark.parametrize(
    ("skew", "uncertain", "level"),
    [
        (0.4, 0.0, "ok"),
        (-3.0, 0.0, "warning"),
        (3.0, 2.5, "ok"),
        (40.0, 0.1, "failure"),
        (-40.0, 0.1, "failure"),
    ],
)
def test_a_clock_is_judged_beyond_what_the_measuring_may_err(
    skew: float, uncertain: float, level: str
) -> None:
    found = clock("clock", skew, uncertain)
    assert found.level == level
    assert ("ahead of" in found.what) == (skew > 0)


def test_a_percentile_is_a_time_that_was_measured() -> None:
    times = [float(n) for n in range(100, 0, -1)]
    assert percentile(times, 0.5) == 50
    assert percentile(times, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) is None
