import logging

import pytest

from ws_hub import HubSettings, TokenVerifier
from ws_hub.redaction import RedactSecrets, redact, redact_server_logs

TOKEN = TokenVerifier(HubSettings.model_validate({"secret_key": "s" * 40})).issue("alice", 60)


@pytest.mark.parametrize(
    "line",
    [
        f'"WebSocket /ws?token={TOKEN}" [accepted]',
        f"GET /x?a=1&token={TOKEN}&b=2",
        f"> Authorization: Bearer {TOKEN}",
        f"/ws?%74oken={TOKEN}",
    ],
)
def test_a_token_in_a_line_is_hidden(line: str) -> None:
    assert TOKEN not in redact(line)
    assert TOKEN.rsplit(".", 1)[1] not in redact(line)


def test_an_anonymous_channel_is_hidden_and_the_rest_stays() -> None:
    line = redact("/ws?channel=abcdefghijklmnopqrst&page=2")
    assert line == "/ws?channel=[hidden]&page=2"


def test_an_access_line_keeps_the_number_of_its_arguments() -> None:
    args = ("127.0.0.1:5", "GET", f"/ws?token={TOKEN}", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 1, "%s %s %s %s %d", args, None)
    assert RedactSecrets().filter(record)
    assert record.getMessage() == "127.0.0.1:5 GET /ws?token=[hidden] 1.1 200"


def test_the_filter_is_added_once_however_many_hubs_there_are() -> None:
    redact_server_logs()
    redact_server_logs()
    filters = logging.getLogger("uvicorn.error").filters
    assert sum(isinstance(one, RedactSecrets) for one in filters) == 1


def test_a_scope_logged_whole_shows_no_token() -> None:
    scope = {"type": "websocket", "query_string": f"token={TOKEN}".encode()}
    for args in ((scope,), (1, scope)):
        text = "%s" if len(args) == 1 else "[%d] %s"
        record = logging.LogRecord("uvicorn.asgi", 5, "", 1, text, args, None)
        assert RedactSecrets().filter(record)
        assert TOKEN not in record.getMessage()
        assert "websocket" in record.getMessage()
