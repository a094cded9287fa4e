import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respond_async.prefer import Preferences, parse_prefer, wants_async


@pytest.mark.parametrize(
    ("values", "respond_async", "wait"),
    [
        (["respond-async"], True, None),
        (["Respond-Async"], True, None),
        (["respond-async, wait=10"], True, 10),
        (["wait=10,respond-async"], True, 10),
        (["respond-async", "wait=5"], True, 5),
        (["respond-async; foo=bar, wait = 7 ;x"], True, 7),
        (['respond-async; note="a, b; c", wait="9"'], True, 9),
        ([" \trespond-async\t, ,, wait=3"], True, 3),
        (['respond-async=""'], True, None),
        (["return=minimal, handling=lenient"], False, None),
        (["wait=10"], False, 10),
        # Only the first instance counts.
        (["wait=1, wait=2, respond-async"], True, 1),
        (["respond-async, wait=abc"], True, None),
        (["respond-async, wait=-1"], True, None),
        (["respond-async, wait=1.5"], True, None),
        (["respond-async, wait=99999999999999999999"], True, None),
        (["respond-async, wait=\u0663"], True, None),
        (['foo="respond-async'], False, None),
        (['foo="respond-async, wait=3"'], False, None),
        (["not-respond-async, respond-asynchronously"], False, None),
        (["respond async"], False, None),
        ([""], False, None),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(
    values: list[str], respond_async: bool, wait: int | None
) -> None:
    assert parse_prefer(values) == Preferences(respond_async, wait)


@given(st.lists(st.text(st.characters(max_codepoint=255))))
def test_no_value_is_an_error(values: list[str]) -> None:
    found = parse_prefer(values)
    assert found.wait_seconds is None or found.wait_seconds >= 0


@given(st.text(st.sampled_from(' ,;="\\ait-wrespondync0'), max_size=80))
def test_what_looks_like_a_preference_is_no_error_either(value: str) -> None:
    found = parse_prefer([value])
    # A quote that is never closed swallows nothing that stands before it.
    assert parse_prefer(["respond-async", value]).respond_async
    assert parse_prefer(["wait=4", value]).wait_seconds == 4
    assert isinstance(found.respond_async, bool)


def test_a_long_value_takes_no_time_that_grows_with_its_square() -> None:
    for part in (",", '"', '\\"', ";", "a=", '"a",', " ", "a ", "\\", '="\\'):
        for length in (4096, 1_000_000):
            begun = time.process_time()
            parse_prefer([(part * length)[:length]])
            parse_prefer(['a="' + (part * length)[: length - 3]])
            assert time.process_time() - begun < 0.2


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], False),
        ([(b"x-async-request", b"true")], True),
        ([(b"x-async-request", b"false")], False),
        ([(b"prefer", b"respond-async")], True),
        ([(b"prefer", b"return=minimal"), (b"prefer", b"respond-async, wait=1")], True),
        ([(b"prefer", b"wait=1")], False),
        ([(b"x-async-request", b"false"), (b"prefer", b"respond-async")], False),
        ([(b"x-async-request", b"a-channel-of-my-own"), (b"prefer", b"wait=1")], True),
    ],
)
def test_two_headers_ask_and_one_of_them_can_refuse(
    headers: list[tuple[bytes, bytes]], wanted: bool
) -> None:
    assert wants_async(headers) is wanted


def test_what_was_applied_is_said() -> None:
    assert Preferences(True).applied(asynchronously=True) == "respond-async"
    assert Preferences(True, 5).applied(asynchronously=True) == "respond-async, wait=5"
    assert Preferences(True, 5).applied(asynchronously=False) == "wait=5"
