"""How the upstream suites' outcomes are judged."""

from pathlib import Path

import pytest

from tests.upstream.__main__ import EXCEPTIONS, parts
from tests.upstream.sources import LOCK, locked
from tests.upstream.verdict import Exceptions, Outcome, counts, problems, read_exceptions

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
NONE = Exceptions({}, {})


def test_what_passes_on_redis_must_pass_on_kafka() -> None:
    redis = {"a": PASSED, "b": PASSED, "c": PASSED, "d": FAILED, "e": SKIPPED}
    kafka = {"a": PASSED, "b": FAILED, "d": FAILED, "e": SKIPPED}
    assert problems(redis, kafka, NONE) == [
        "b: passed on redis, failed on kafka",
        "c: passed on redis, missing on kafka",
    ]


def test_a_test_skipped_on_kafka_alone_is_a_problem() -> None:
    assert problems({"a": PASSED}, {"a": SKIPPED}, NONE)


def test_an_exception_fails_and_does_not_pass() -> None:
    named = Exceptions({"a": "why"}, {})
    assert not problems({"a": PASSED}, {"a": FAILED}, named)
    assert problems({"a": PASSED}, {"a": PASSED}, named) == ["a: named as a failure, and passes"]


def test_a_test_that_races_with_the_broker_may_do_both() -> None:
    named = Exceptions({}, {"a": "why"})
    assert not problems({"a": PASSED}, {"a": FAILED}, named)
    assert not problems({"a": PASSED}, {"a": PASSED}, named)


def test_the_exceptions_of_what_was_not_run_are_not_judged() -> None:
    assert not problems({"a": PASSED}, {"a": PASSED}, Exceptions({"b": "why"}, {}))


def test_every_exception_has_its_reason(tmp_path: Path) -> None:
    read_exceptions(EXCEPTIONS)
    (tmp_path / "e.toml").write_text('[fails]\n"celery/test_a.py::test_b" = " "\n[may_fail]')
    with pytest.raises(ValueError, match="has no reason"):
        read_exceptions(tmp_path / "e.toml")


def test_outcomes_are_counted() -> None:
    assert counts({"a": PASSED, "b": FAILED, "c": PASSED}) == "2 passed, 1 failed"
    assert counts({}) == "nothing ran"


def test_tests_of_one_file_share_a_process() -> None:
    wanted = ["celery/test_a.py::test_1", "celery/test_a.py::test_2", "celery/test_b.py"]
    assert parts(wanted) == {
        "celery": [
            ["t/integration/test_a.py::test_1", "t/integration/test_a.py::test_2"],
            ["t/integration/test_b.py"],
        ]
    }
    with pytest.raises(SystemExit, match="no such suite"):
        parts(["django"])


def test_the_lock_names_the_source_distribution() -> None:
    text = LOCK.read_text()
    number = text.split("\ncelery==")[1].split()[0]
    lines = locked("celery", number, text).splitlines()
    assert lines[0] == f"celery=={number} \\"
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])
    with pytest.raises(LookupError, match=r"make \.venv/\.installed"):
        locked("celery", "0.0.1", text)
