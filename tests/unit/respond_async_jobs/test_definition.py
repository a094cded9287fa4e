"""What may be a job, and what is said of the rest."""

from typing import Any

import pytest

from respond_async import ConfigurationError, RetryOn, TaskConfig, task
from respond_async.jobs.definition import definition_of


def plain(number: int) -> int:
    return number


def test_what_is_not_registered_is_refused_with_the_way_to_mend_it() -> None:
    for given in (plain, "shop.tasks.nothing"):
        with pytest.raises(ConfigurationError, match="put @task over the function"):
            definition_of(given)


def test_what_a_worker_cannot_import_is_refused() -> None:
    def inner() -> None: ...

    with pytest.raises(ConfigurationError, match="at the top of a module"):
        task(inner)
    assert definition_of(task(name="inner")(inner)).name == "inner"


def test_arguments_that_cannot_be_named_are_refused() -> None:
    def many(*numbers: int) -> None: ...

    def any_of(**rest: Any) -> None: ...

    def taken(timeout: int) -> None: ...

    for function in (many, any_of, taken):
        with pytest.raises(ConfigurationError, match=r"number|rest|timeout"):
            task(name="refused")(function)


def test_a_policy_and_never_again_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="exclude"):
        task(name="both", idempotent=False, retry=[RetryOn(exceptions=(OSError,))])(plain)


def test_delays_grow_up_to_the_longest() -> None:
    policy = RetryOn(exceptions=(OSError,), delay=1, factor=10, longest=50)
    assert 0.9 <= policy.seconds(1) <= 1.1
    assert 9 <= policy.seconds(2) <= 11
    assert 45 <= policy.seconds(9) <= 55


@pytest.mark.parametrize(
    "wrong", [{"default_timeout": 0}, {"task_result_ttl": -1}, {"max_task_history": -1}]
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TaskConfig(**wrong)
