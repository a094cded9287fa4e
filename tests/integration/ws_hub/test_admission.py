"""Who gets in. A refusal is a close frame, 1008, that says why."""

import base64
import json

import pytest

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_server import NAME, RunningHub, closed_with, received
from ws_hub import HubSettings, TokenVerifier

OTHER_SECRET = "another-secret-of-the-tests-of-more-than-32-bytes"


def refusal(hub: RunningHub, query: str, **options: object) -> str:
    with hub.connect(query, **options) as socket:
        code, reason = closed_with(socket)
    assert code == 1008
    assert "Traceback" not in reason
    return reason


def test_an_expired_token_is_refused(hub: RunningHub) -> None:
    assert "expired" in refusal(hub, f"token={hub.token('alice', -1)}")


def test_a_forged_token_is_refused(hub: RunningHub) -> None:
    settings = HubSettings.model_validate({"secret_key": OTHER_SECRET})
    forged = TokenVerifier(settings).issue("alice", 60)
    assert "signature" in refusal(hub, f"token={forged}")


def test_an_unsigned_token_is_refused(hub: RunningHub) -> None:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps({"sub": "alice"}).encode()).rstrip(b"=").decode()
    refusal(hub, f"token={head}.{body}.")


@pytest.mark.parametrize("query", ["token=", "token=rubbish", "token=%FF%FE", "token=a.b.c"])
def test_rubbish_for_a_token_is_refused(query: str, hub: RunningHub) -> None:
    assert "not a JWT" in refusal(hub, query)


@pytest.mark.parametrize(
    "name", ["", "short", "a" * 129, "with%20spaces%20in%20its%20name", "a.b" * 8]
)
def test_an_illegal_channel_name_is_refused_with_the_rule(name: str, hub: RunningHub) -> None:
    assert "16 to 128 characters" in refusal(hub, f"channel={name}")


def test_neither_a_token_nor_a_channel_is_refused(hub: RunningHub) -> None:
    assert "token=JWT" in refusal(hub, "")


def test_a_token_and_a_channel_at_once_are_refused(hub: RunningHub) -> None:
    assert "either" in refusal(hub, f"token={hub.token('alice')}&channel={NAME}")


def test_without_a_secret_no_token_is_believed(start_hub: StartHub) -> None:
    token = start_hub().token("alice")
    assert "SECRET_KEY" in refusal(start_hub(secret_key=[]), f"token={token}")


def test_anonymous_sockets_can_be_switched_off(start_hub: StartHub) -> None:
    hub = start_hub(allow_anonymous=False)
    assert "switched off" in refusal(hub, f"channel={NAME}")
    with hub.subscribed(f"token={hub.token('alice')}"):
        pass


def test_a_page_from_elsewhere_is_refused(hub: RunningHub) -> None:
    assert "HUB_ALLOWED_ORIGINS" in refusal(hub, f"channel={NAME}", origin="https://evil.example")


def test_a_page_from_the_same_host_gets_in(hub: RunningHub) -> None:
    with hub.subscribed(origin=f"http://127.0.0.1:{hub.port}"):
        pass


def test_a_page_from_a_named_origin_gets_in(start_hub: StartHub) -> None:
    hub = start_hub(hub_allowed_origins="https://shop.example,https://admin.example")
    with hub.subscribed(origin="https://admin.example"):
        pass
    refusal(hub, f"channel={NAME}", origin="https://evil.example")


def test_a_socket_ends_when_its_token_does(hub: RunningHub) -> None:
    with hub.connect(f"token={hub.token('alice', 2.5)}") as socket:
        assert received(socket)["type"] == "subscribed"
        assert closed_with(socket) == (1008, "the token has expired")
