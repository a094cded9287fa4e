"""What two runs of one suite say of each other."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = ["Exceptions", "Outcome", "Reasons", "Table", "counts", "problems", "read_exceptions"]

#: Reasons by test.
Reasons = Mapping[str, str]


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    #: Its process ended, or was ended, before the test did.
    MISSING = "missing"


#: Outcomes by test.
Table = Mapping[str, Outcome]

GOOD: Final = frozenset({Outcome.PASSED, Outcome.XFAILED})


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Tests that need not pass on Kafka although they pass on Redis, each with its reason."""

    #: These never pass; one that does is named no longer.
    fails: Reasons
    #: These race with the broker, and pass or not.
    may_fail: Reasons


def read_exceptions(path: Path) -> Exceptions:
    """The exceptions that a file names.

    Raises:
        ValueError: One has no reason.
    """
    named: dict[str, dict[str, str]] = tomllib.loads(path.read_text())
    exceptions = Exceptions(named["fails"], named["may_fail"])
    for test, reason in [*exceptions.fails.items(), *exceptions.may_fail.items()]:
        if not reason.strip():
            raise ValueError(f"{path.name}: {test!r} has no reason")
    return exceptions


def problems(redis: Table, kafka: Table, exceptions: Exceptions) -> list[str]:
    """What must not be, one line each; empty where Kafka passes all that Redis passes.

    Only the exceptions of tests in `kafka` are judged, so a part of a suite can be run.
    """
    found = [
        f"{test}: {outcome} on redis, {kafka.get(test, Outcome.MISSING)} on kafka"
        for test, outcome in sorted(redis.items())
        if outcome in GOOD
        and kafka.get(test, Outcome.MISSING) not in GOOD
        and test not in exceptions.fails
        and test not in exceptions.may_fail
    ]
    return found + [
        f"{test}: named as a failure, and passes"
        for test in sorted(exceptions.fails)
        if kafka.get(test) in GOOD
    ]


def counts(table: Table) -> str:
    """`58 passed, 2 failed, 3 skipped`."""
    number = Counter(table.values())
    return ", ".join(f"{number[kind]} {kind}" for kind in Outcome if number[kind]) or "nothing ran"
