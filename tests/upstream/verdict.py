"""What two runs of one suite say of each other."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = ["Outcome", "Reasons", "Table", "problems", "read_exceptions"]

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


def read_exceptions(path: Path) -> dict[str, str]:
    """The tests that may fail on Kafka although they pass on Redis, each with its reason."""
    named: dict[str, str] = tomllib.loads(path.read_text())
    for test, reason in named.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{path.name}: {test!r} has no reason")
    return named


def problems(redis: Table, kafka: Table, exceptions: Reasons) -> list[str]:
    """What must not be, one line each; empty where Kafka passes all that Redis passes.

    Only the exceptions of tests in `kafka` are judged, so a part of a suite can be run.
    """
    found = [
        f"{test}: {outcome} on redis, {kafka.get(test, Outcome.MISSING)} on kafka"
        for test, outcome in sorted(redis.items())
        if outcome in GOOD
        and kafka.get(test, Outcome.MISSING) not in GOOD
        and test not in exceptions
    ]
    return found + [
        f"{test}: named as an exception, and passes"
        for test in sorted(exceptions)
        if kafka.get(test) in GOOD
    ]


def counts(table: Table) -> str:
    """`58 passed, 2 failed, 3 skipped`."""
    number = Counter(table.values())
    return ", ".join(f"{number[kind]} {kind}" for kind in Outcome if number[kind]) or "nothing ran"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a suite on both brokers."""

    name: str
    redis: Table
    kafka: Table
