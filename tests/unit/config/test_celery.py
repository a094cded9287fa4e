"""Celery reads the service's configuration as it is meant."""

import importlib
from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS

import config
import config.celery
from respond_async import Settings
from respond_async.connections import result_backend


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setattr(
        config,
        "settings",
        Settings(
            kafka_bootstrap_servers="k1:9092,k2:9093",
            kafka_topic="requests",
            kafka_group_id="shop",
            kafka_partitions=3,
            kafka_client_properties={"security.protocol": "ssl"},
            redis_url="redis://r:6379/1",
            worker_imports=["shop.bills", "shop.mails"],
            worker_concurrency=7,
            result_ttl_seconds=60,
        ),
    )
    made = Celery("t", set_as_current=False)
    made.config_from_object(importlib.reload(config.celery))
    return made


@pytest.fixture(autouse=True)
def _as_it_was() -> None:
    importlib.reload(config.celery)


def test_every_name_is_a_setting_that_celery_knows() -> None:
    names = {name for name in vars(config.celery) if name.islower() and not name.startswith("_")}
    # Celery documents the interval and reads it, but its table of defaults lacks it.
    assert names - set(DEFAULTS) == {"redis_backend_health_check_interval"}


def test_the_settings_reach_celery(app: Celery) -> None:
    assert app.conf.broker_url == "kafka://k1:9092,k2:9093"
    options = app.conf.broker_transport_options
    assert options["group_id"] == "shop"
    assert options["num_partitions"] == 3
    assert options["kafka_common_config"] == {"security.protocol": "ssl"}
    assert app.conf.task_default_queue == "requests"
    assert app.conf.result_backend == "redis://r:6379/1"
    assert app.conf.result_expires == 60
    assert app.conf.imports == ("shop.bills", "shop.mails")
    assert app.conf.worker_concurrency == 7


def test_results_on_sentinel_are_written_as_celery_writes_it() -> None:
    url = "redis+sentinel://u:p%40@h1:1,h2/mymaster/3?sentinel_password=s"
    given = result_backend(Settings(redis_url=url, redis_timeout_seconds=2))
    assert given["result_backend"] == "sentinel://u:p%40@h1:1/3;sentinel://u:p%40@h2:26379/3"
    options = given["result_backend_transport_options"]
    assert options["master_name"] == "mymaster"
    assert options["sentinel_kwargs"]["password"] == "s"
    made = Celery("t", set_as_current=False)
    made.conf.update(given)
    backend: Any = made.backend
    assert backend.connparams["db"] == 3
    assert backend.connparams["password"] == "p@"


def test_a_task_is_acknowledged_when_it_has_run_and_runs_again_when_its_worker_is_lost(
    app: Celery,
) -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1


def test_no_pickle_is_taken_from_the_queue(app: Celery) -> None:
    assert app.conf.accept_content == ["json"]
