"""Ids that carry their own proof."""

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from respond_async import Settings
from respond_async.errors import UnknownTaskId
from respond_async.task_ids import TaskIds

AT = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)


def ids(*keys: str) -> TaskIds:
    return TaskIds(Settings(secret_key=[SecretStr(key) for key in keys]))


OURS = ids("k" * 40)


def test_an_id_says_when_and_whose_it_is() -> None:
    made = OURS.make("user.alice", AT)
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", made)
    issued = OURS.read(made)
    assert issued.accepted_at == AT
    assert issued.belongs_to("user.alice")
    assert not issued.belongs_to("user.alic")
    assert not issued.belongs_to("anon.alice")


def test_ids_of_one_owner_have_nothing_but_their_time_in_common() -> None:
    one, two = (base64.urlsafe_b64decode(OURS.make("user.alice", AT)) for _ in range(2))
    assert one[:6] == two[:6]
    assert one[6:18] != two[6:18]
    assert one[18:32] != two[18:32]
    assert one[32:] != two[32:]


@given(place=st.integers(0, 47), bit=st.integers(0, 7))
def test_an_id_with_any_bit_changed_is_unknown(place: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(OURS.make("user.alice", AT)))
    raw[place] ^= 1 << bit
    with pytest.raises(UnknownTaskId):
        OURS.read(base64.urlsafe_b64encode(raw).decode())


@given(st.text(max_size=80))
def test_a_text_that_is_no_id_is_unknown(text: str) -> None:
    with pytest.raises(UnknownTaskId):
        OURS.read(text)


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}=", "{}A", "!{}"])
def test_an_id_is_written_in_one_way_alone(change: str) -> None:
    made = OURS.make("user.alice", AT)
    for text in (change.format(made), change.format(made)[:64]):
        if text != made:
            with pytest.raises(UnknownTaskId):
                OURS.read(text)


def test_a_replaced_key_still_reads_and_another_does_not() -> None:
    made = OURS.make("user.alice", AT)
    assert ids("n" * 40, "k" * 40).read(made).belongs_to("user.alice")
    with pytest.raises(UnknownTaskId):
        ids("n" * 40).read(made)


def test_without_a_key_every_process_understands_the_ids_and_a_key_ends_that() -> None:
    made = ids().make("user.alice", AT)
    assert ids().read(made).belongs_to("user.alice")
    with pytest.raises(UnknownTaskId):
        OURS.read(made)


def test_time_is_kept_to_the_millisecond() -> None:
    at = AT + timedelta(microseconds=999)
    assert OURS.read(OURS.make("user.alice", at)).accepted_at == AT
