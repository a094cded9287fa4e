"""The configuration of jobs as the environment gives it."""

from dataclasses import fields

import pytest

from respond_async import Settings, TaskConfig

GIVEN = {
    "TASK_TIMEOUT_SECONDS": "5",
    "TASK_MAX_CONCURRENT": "6",
    "TASK_MAX_CONCURRENT_PER_OWNER": "7",
    "TASK_MAX_CONCURRENT_PER_KEY": "8",
    "TASK_MAX_SCHEDULES_PER_OWNER": "9",
    "TASK_RESULT_TTL_SECONDS": "10",
    "TASK_HISTORY": "false",
    "TASK_MAX_HISTORY": "11",
    "TASK_CLEANUP_SECONDS": "12",
    "TASK_LOG_LEVEL": "ERROR",
    "TASK_KEEP_TRACEBACKS": "true",
    "TASK_WEBHOOK_SECRET": "signed with this",
}


def test_each_part_of_it_has_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = TaskConfig.from_settings(Settings())
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    given = TaskConfig.from_settings(Settings())
    unchanged = {
        each.name
        for each in fields(TaskConfig)
        if getattr(given, each.name) == getattr(as_it_is, each.name)
    }
    assert unchanged == set()
    assert given.max_schedules_per_owner == 9


def test_zero_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TASK_TIMEOUT_SECONDS",
        "TASK_MAX_CONCURRENT",
        "TASK_MAX_CONCURRENT_PER_OWNER",
        "TASK_MAX_CONCURRENT_PER_KEY",
        "TASK_MAX_SCHEDULES_PER_OWNER",
    ):
        monkeypatch.setenv(name, "0")
    given = TaskConfig.from_settings(Settings())
    assert given.default_timeout is given.max_concurrent_tasks is None
    assert given.max_concurrent_per_owner is given.max_concurrent_per_key is None
    assert given.max_schedules_per_owner is None
