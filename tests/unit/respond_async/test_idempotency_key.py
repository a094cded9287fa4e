import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respond_async import Problem
from respond_async.idempotency import LONGEST_KEY, read_key


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([], None),
        (['"8e03978e-40d5-43dd-bc93-6894a57f9324"'], "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (["8e03978e-40d5-43dd-bc93-6894a57f9324"], "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (['  "a b"  '], "a b"),
        ([r'"a \"quoted\" \\ b"'], r'a "quoted" \ b'),
        (['"a"; version=1;x'], "a"),
        (['"' + "k" * LONGEST_KEY + '"'], "k" * LONGEST_KEY),
    ],
)
def test_a_key_is_a_string_of_rfc_8941(values: list[str], key: str | None) -> None:
    assert read_key(values) == key


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ['""'],
        ['"a'],
        ['a"'],
        [r'"a\n"'],
        ['"ä"'],
        ['"a\x00"'],
        ['"a", "b"'],
        ["a, b"],
        ['"a"', '"a"'],
        ["k" * (LONGEST_KEY + 1)],
        ['"a" b'],
    ],
)
def test_anything_else_is_refused(values: list[str]) -> None:
    with pytest.raises(Problem) as raised:
        read_key(values)
    assert raised.value.status_code == 400


@given(st.lists(st.text(st.characters(max_codepoint=255)), min_size=1, max_size=3))
def test_whatever_is_sent_is_a_key_or_a_problem(values: list[str]) -> None:
    # Nothing but a Problem is raised.
    with contextlib.suppress(Problem):
        key = read_key(values)
        assert key is not None
        assert 0 < len(key) <= LONGEST_KEY
        assert key.isascii()
        assert key.isprintable()


def test_a_long_value_is_refused_at_once() -> None:
    for part in ('"', "\\", "a;", ";a=", '"a";a', " "):
        for value in ('"a"' + part * 50_000, '"a"' + (part * 1020)[:1020]):
            begun = time.process_time()
            with contextlib.suppress(Problem):
                read_key([value])
            assert time.process_time() - begun < 0.1
