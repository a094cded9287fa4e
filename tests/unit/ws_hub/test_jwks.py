"""Keys that an identity provider publishes: a real HTTP server in the test."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from ws_hub import HubSettings, TokenRejected, TokenVerifier
from ws_hub.jwks import JwksKeys

ALICE = {"sub": "alice"}


class Provider:
    """Publishes `keys`; `answers` counts how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.text: bytes | None = None
        self.status = 200
        self.answers = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answers += 1
                body = provider.text or json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def private() -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


def published(key: rsa.RSAPrivateKey, kid: str | None, **more: Any) -> dict[str, Any]:
    jwk = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    return {**jwk, **({"kid": kid} if kid else {}), **more}


def signed(key: Any, kid: str | None = None, algorithm: str = "RS256") -> str:
    return jwt.encode(ALICE, key, algorithm, headers={"kid": kid} if kid else None)


def verifier(provider: Provider, **settings: Any) -> TokenVerifier:
    return TokenVerifier(HubSettings(jwt_algorithm="RS256", jwt_jwks_url=provider.url, **settings))


def verified(by: TokenVerifier, token: str) -> str:
    asyncio.run(by.prepare(token))
    return by.verify(token).sub


def test_a_token_is_verified_by_the_key_that_it_names(
    provider: Provider, private: list[rsa.RSAPrivateKey]
) -> None:
    provider.keys = [published(private[0], "a"), published(private[1], "b")]
    by = verifier(provider)
    for kid, key in (("a", private[0]), ("b", private[1]), (None, private[1])):
        assert verified(by, signed(key, kid)) == "alice"
    with pytest.raises(TokenRejected, match="signature"):
        verified(by, signed(private[1], "a"))
    assert provider.answers == 1


def test_a_new_key_is_fetched_once_it_is_named(
    provider: Provider, private: list[rsa.RSAPrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = [published(private[0], "a")]
    by = verifier(provider)
    assert verified(by, signed(private[0], "a")) == "alice"
    provider.keys = [published(private[1], "b")]
    with pytest.raises(TokenRejected, match="not known"):
        # So soon after the last fetch nothing is fetched, whoever sends how many.
        verified(by, signed(private[1], "b"))
    assert provider.answers == 1
    assert by._jwks is not None
    monkeypatch.setattr(by._jwks, "_pause", 0.0)
    assert verified(by, signed(private[1], "b")) == "alice"
    assert provider.answers == 2
    with pytest.raises(TokenRejected, match="not known"):
        verified(by, signed(private[0], "a"))


def test_made_up_key_ids_do_not_reach_the_provider(
    provider: Provider, private: list[rsa.RSAPrivateKey]
) -> None:
    provider.keys = [published(private[0], "a")]
    keys = JwksKeys(provider.url, "RS256", 300)

    async def ask() -> None:
        await asyncio.gather(*(keys.prepare(f"made-up-{n}") for n in range(200)))

    for _ in range(3):
        asyncio.run(ask())
    assert provider.answers == 1
    assert keys.candidates("a")


@pytest.mark.parametrize(
    ("status", "text"),
    [(500, None), (200, b"no JSON"), (200, b'{"keys": 7}'), (200, b"[" * 100_000), (200, b"{}")],
)
def test_a_provider_that_fails_leaves_the_keys_there_were(
    provider: Provider,
    private: list[rsa.RSAPrivateKey],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    text: bytes | None,
) -> None:
    provider.keys = [published(private[0], "a")]
    by = verifier(provider)
    assert verified(by, signed(private[0], "a")) == "alice"
    provider.status, provider.text = status, text
    assert by._jwks is not None
    monkeypatch.setattr(by._jwks, "_pause", 0.0)
    with pytest.raises(TokenRejected, match="not known"):
        verified(by, signed(private[1], "b"))
    assert provider.answers == 2
    assert verified(by, signed(private[0], "a")) == "alice"


def test_keys_that_are_for_something_else_are_not_used(
    provider: Provider, private: list[rsa.RSAPrivateKey]
) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    provider.keys = [
        published(private[0], "enc", use="enc"),
        published(private[0], "rs512", alg="RS512"),
        json.loads(ECAlgorithm.to_jwk(curve.public_key())) | {"kid": "ec"},
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0" * 8},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        json.loads(RSAAlgorithm.to_jwk(private[0])) | {"kid": "private"},
        published(private[1], "good"),
    ]
    by = verifier(provider)
    assert verified(by, signed(private[1], "good")) == "alice"
    for key, kid, algorithm in (
        (private[0], "enc", "RS256"),
        (private[0], "rs512", "RS512"),
        (curve, "ec", "ES256"),
        ("secretsecretsecretsecretsecretsecretsecretsecret", "oct", "HS256"),
        (private[0], "private", "RS256"),
    ):
        with pytest.raises(TokenRejected):
            verified(by, signed(key, kid, algorithm))


def test_a_set_is_fetched_again_after_its_time(
    provider: Provider, private: list[rsa.RSAPrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = [published(private[0], "a")]
    by = verifier(provider)
    assert verified(by, signed(private[0], "a")) == "alice"
    assert by._jwks is not None
    monkeypatch.setattr(by._jwks, "_lifetime", 0.0)
    monkeypatch.setattr(by._jwks, "_pause", 0.0)
    provider.keys = [published(private[1], "a")]
    # In the background: this one is still judged by what is there.
    asyncio.run(by.prepare(signed(private[0], "a")))
    assert by._jwks._fetch is not None
    by._jwks._fetch.result(5)
    with pytest.raises(TokenRejected, match="signature"):
        by.verify(signed(private[0], "a"))


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_algorithm": "HS256"},
        {"jwt_algorithm": "RS256", "jwt_jwks_url": "file:///etc/passwd"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HubSettings(**{"jwt_jwks_url": "https://id.example/jwks", **settings})
