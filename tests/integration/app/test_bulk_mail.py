"""The bulk mail of the examples, called as a function, against a real SMTP server."""

from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.jobs import bulk_mail as module
from app.jobs.bulk_mail import bulk_mail
from app.jobs.settings import ExampleSettings
from respond_async import TaskError
from tests.support.ports import free_port

ADA, ALAN = "ada@example.org", "alan@example.org"


class Mailbox:
    """Has no room for Alan, and knows no sender but one."""

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address != "news@example.org":
            return "550 Who are you?"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == ALAN:
            return "452 4.2.2 Mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_port()
    given = ExampleSettings(smtp_host="127.0.0.1", smtp_port=port)
    monkeypatch.setattr(module, "EXAMPLES", given)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    return port


@pytest.fixture
def _server(port: int) -> Iterator[None]:
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    controller.start()
    yield
    controller.stop()


def test_without_a_server_it_fails_and_says_so() -> None:
    with pytest.raises(TaskError, match="2 have no mail") as failed:
        bulk_mail("news@example.org", [ADA, ALAN], "", "")
    assert failed.value.code == "mail_unavailable"
    assert failed.value.details == {"sent": 0, "refused": [], "connections": 0}


@pytest.mark.usefixtures("_server")
def test_who_is_put_off_again_and_again_is_refused_in_the_end() -> None:
    report = bulk_mail("news@example.org", [ADA, ALAN, ADA], "", "")
    assert report.sent == 1
    assert [(one.recipient, one.code) for one in report.refused] == [(ALAN, 452)]


@pytest.mark.usefixtures("_server")
def test_a_sender_that_is_refused_ends_it_at_once() -> None:
    with pytest.raises(TaskError, match="Who are you") as failed:
        bulk_mail("spam@example.org", [ADA, ALAN], "", "")
    assert failed.value.code == "sender_refused"
    assert failed.value.details["connections"] == 1
