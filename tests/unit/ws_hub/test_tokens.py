import base64
import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ws_hub import HubConfigurationError, HubSettings, TokenRejected, TokenVerifier

SECRET = "an-old-secret-of-more-than-32-bytes-in-length"
NEWER = "a-newer-secret-of-more-than-32-bytes-in-length"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "JWT_ALGORITHM", "JWT_PUBLIC_KEY", "JWT_AUDIENCE", "JWT_ISSUER"):
        monkeypatch.delenv(name, raising=False)


def verifier(**settings: Any) -> TokenVerifier:
    return TokenVerifier(HubSettings(**{"secret_key": SECRET, **settings}))


def token(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256") -> str:
    # By hand for claims that PyJWT itself would not write.
    return jwt.encode(claims, key, algorithm=algorithm)


def rejected(by: TokenVerifier, text: str, **more: Any) -> TokenRejected:
    with pytest.raises(TokenRejected) as caught:
        by.verify(text, **more)
    error = caught.value
    assert SECRET not in error.reason
    assert not text or text not in str(error)
    return error


def test_an_issued_token_says_who_its_bearer_is() -> None:
    claims = verifier().verify(verifier().issue("alice", 60))
    assert claims.sub == "alice"
    assert claims.expires_at is not None
    assert abs(claims.expires_at - datetime.now(UTC) - timedelta(seconds=60)).total_seconds() < 5
    assert claims.raw["sub"] == "alice"


def test_a_token_of_an_older_secret_is_still_good_after_rotation() -> None:
    rotated = verifier(secret_key=f"{NEWER},{SECRET}")
    assert rotated.verify(verifier().issue("alice", 60)).sub == "alice"
    assert verifier(secret_key=NEWER).verify(rotated.issue("bob", 60)).sub == "bob"


def test_an_expired_token_is_refused() -> None:
    assert rejected(verifier(), verifier().issue("alice", -1)).code == "expired"


def test_a_token_is_judged_by_when_its_request_was_accepted() -> None:
    now = datetime.now(UTC)
    expired = token({"sub": "alice", "exp": now - timedelta(minutes=5)})
    assert verifier().verify(expired, at=now - timedelta(minutes=6)).sub == "alice"
    assert rejected(verifier(), expired, at=now).code == "expired"


def test_a_token_ends_at_its_very_second() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    text = token({"sub": "alice", "exp": moment})
    assert rejected(verifier(), text, at=moment).code == "expired"
    assert verifier().verify(text, at=moment - timedelta(microseconds=1)).sub == "alice"
    lenient = verifier(jwt_leeway_seconds=10)
    assert lenient.verify(text, at=moment + timedelta(seconds=9)).sub == "alice"


def test_a_token_before_its_time_is_refused() -> None:
    assert (
        rejected(verifier(), token({"sub": "a", "nbf": time.time() + 60})).code == "not_yet_valid"
    )


def test_a_token_without_exp_does_not_end() -> None:
    assert verifier().verify(token({"sub": "alice"})).expires_at is None


def test_another_secret_s_token_is_forged() -> None:
    assert rejected(verifier(), token({"sub": "alice"}, NEWER)).code == "forged"


def test_a_changed_payload_is_forged() -> None:
    head, _, signature = token({"sub": "alice"}).split(".")
    payload = base64.urlsafe_b64encode(b'{"sub": "admin"}').rstrip(b"=").decode()
    assert rejected(verifier(), f"{head}.{payload}.{signature}").code == "forged"


@pytest.mark.parametrize("algorithm", ["none", "NONE", "nOnE", ""])
def test_an_unsigned_token_is_refused(algorithm: str) -> None:
    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    text = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'sub': 'alice'})}."
    assert rejected(verifier(), text).code in {"wrong_algorithm", "malformed"}


def test_only_the_configured_algorithm_is_taken_even_with_the_right_secret() -> None:
    long = os.urandom(64).hex()
    text = token({"sub": "alice"}, long, "HS512")
    assert rejected(verifier(secret_key=long), text).code == "wrong_algorithm"


def test_a_public_key_verifies_and_is_no_hmac_secret() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ours = verifier(jwt_algorithm="RS256", jwt_public_key=public.decode())
    assert ours.verify(token({"sub": "alice"}, private, "RS256")).sub == "alice"
    # The classic confusion: an HMAC keyed by the public key, which everyone has.
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(b'{"sub":"admin"}').rstrip(b"=")
    mac = jwt.get_algorithm_by_name("HS256").sign(head + b"." + body, public)
    confused = (head + b"." + body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
    assert rejected(ours, confused).code == "wrong_algorithm"
    with pytest.raises(HubConfigurationError):
        ours.issue("alice", 60)


def test_a_pem_on_one_line_is_understood() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    one_line = public.decode().strip().replace("\n", "\\n")
    ours = verifier(jwt_algorithm="ES256", jwt_public_key=one_line)
    assert ours.verify(token({"sub": "alice"}, private, "ES256")).sub == "alice"


def test_a_key_of_another_kind_is_a_configuration_error() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(HubConfigurationError, match="JWT_PUBLIC_KEY"):
        verifier(jwt_algorithm="RS256", jwt_public_key=public.decode())


@pytest.mark.parametrize("settings", [{"secret_key": []}, {"jwt_algorithm": "RS256"}])
def test_without_a_key_nobody_gets_in(settings: dict[str, Any]) -> None:
    assert rejected(verifier(**settings), token({"sub": "alice"})).code == "no_key"


def test_without_a_key_nothing_is_issued() -> None:
    with pytest.raises(HubConfigurationError, match="SECRET_KEY"):
        verifier(secret_key=[]).issue("alice", 60)


@pytest.mark.parametrize("sub", [None, "", 7, ["alice"], "a" * 256, "a\nb", "\ud800"])
def test_a_token_that_names_nobody_is_refused(sub: Any) -> None:
    text = token({"sub": sub}) if isinstance(sub, str) else token_with_raw_sub(sub)
    assert rejected(verifier(), text).code == "no_sub"


def token_with_raw_sub(sub: Any) -> str:
    payload = json.dumps({"sub": sub}).encode()
    return jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")


def test_a_token_without_a_sub_is_refused() -> None:
    assert rejected(verifier(), token({"name": "alice"})).code == "no_sub"


@pytest.mark.parametrize("moment", ["NaN", "Infinity", "1e400", '"2030"', "true", "[1]", "1e300"])
def test_an_exp_that_is_no_date_is_no_way_around_expiry(moment: str) -> None:
    payload = f'{{"sub": "alice", "exp": {moment}}}'.encode()
    text = jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")
    assert rejected(verifier(), text).code == "malformed"


def test_audience_and_issuer_must_be_the_configured_ones() -> None:
    ours = verifier(jwt_audience="shop", jwt_issuer="https://id.example")
    assert ours.verify(ours.issue("alice", 60)).sub == "alice"
    right = {"sub": "alice", "aud": "shop", "iss": "https://id.example"}
    assert ours.verify(token(right)).sub == "alice"
    assert rejected(ours, token({**right, "aud": "bank"})).code == "wrong_audience"
    assert rejected(ours, token({**right, "iss": "https://evil"})).code == "wrong_issuer"
    assert rejected(ours, token({"sub": "a", "iss": right["iss"]})).code == "wrong_audience"
    assert rejected(ours, token({"sub": "a", "aud": "shop"})).code == "wrong_issuer"


def test_a_token_for_an_audience_is_refused_where_none_is_configured() -> None:
    # RFC 7519 4.1.3: who does not identify itself with a value in `aud` must reject.
    assert rejected(verifier(), token({"sub": "a", "aud": "bank"})).code == "wrong_audience"


@given(st.text(max_size=200))
def test_whatever_comes_as_a_token_the_only_error_is_a_rejection(text: str) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(text)


def test_a_huge_token_is_refused_unparsed() -> None:
    assert rejected(verifier(), "a" * 100_000).code == "malformed"


def test_claims_do_not_show_their_contents_in_logs() -> None:
    claims = verifier().verify(token({"sub": "alice", "email": "alice@example.com"}))
    assert "alice@example.com" not in repr(claims)
