from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from respond_async import EnvelopeError, Settings
from respond_async.sealing import Sealer

KEY, OTHER = "a" * 32, "b" * 32


def sealer(*keys: str, purpose: str = "request") -> Sealer:
    return Sealer(Settings(secret_key=[SecretStr(key) for key in keys]), purpose)


@given(data=st.binary(), context=st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_opens_in_its_own_context_alone(data: bytes, context: str) -> None:
    way = sealer(KEY)
    assert way.open(way.seal(data, context), context) == data
    with pytest.raises(EnvelopeError, match="for this"):
        way.open(way.seal(data, context), context + "x")


@given(data=st.binary(max_size=40), place=st.integers(min_value=0), bit=st.integers(0, 5))
def test_no_bit_can_be_changed(data: bytes, place: int, bit: int) -> None:
    way = sealer(KEY)
    sealed = bytearray(way.seal(data).encode())
    # Not the last characters: base64 has bits there that stand for nothing.
    sealed[place % (len(sealed) - 4)] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        way.open(sealed.decode())


def test_no_text_is_sealed_the_same_way_twice() -> None:
    way = sealer(KEY)
    assert len({way.seal(b"x") for _ in range(1000)}) == 1000


def test_a_text_names_its_key_so_that_a_rotation_can_be_seen_to_be_over() -> None:
    before, after = sealer(KEY).seal(b"x"), sealer(OTHER, KEY).seal(b"x")
    assert before.split(".")[1] != after.split(".")[1]
    assert sealer(OTHER).seal(b"x").split(".")[1] == after.split(".")[1]
    assert sealer(OTHER, KEY).open(before) == b"x"
    with pytest.raises(EnvelopeError, match="another SECRET_KEY"):
        sealer(OTHER).open(before)


def test_processes_do_not_share_keys() -> None:
    way = sealer(KEY)
    text = way.seal(b"x").split(".")[2]
    assert way.seal(b"x").split(".")[2][:20] == text[:20]
    assert sealer(KEY).seal(b"x").split(".")[2][:20] != text[:20]


def test_a_new_salt_is_drawn_long_before_nonces_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("respond_async.sealing._TEXTS_PER_SALT", 10)
    way = sealer(KEY)
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(way.seal, [b"x"] * 2000))
    assert len({text.split(".")[2][:20] for text in texts}) > 50
    assert all(way.open(text) == b"x" for text in texts)


def test_a_name_says_nothing_without_the_key_and_survives_a_rotation() -> None:
    (name,) = sealer(KEY).names("user.alice")
    assert sealer(OTHER, KEY).names("user.alice")[1] == name
    assert sealer(KEY).names("user.bob") != [name]
    assert sealer(KEY, purpose="other").names("user.alice") != [name]
