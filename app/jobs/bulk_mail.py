"""Mail to many: some are refused, connections break, and the job says what became of each."""

import logging
import smtplib
import time
from collections import deque
from collections.abc import Iterable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Final

from pydantic import BaseModel, Field

from app.jobs.settings import EXAMPLES
from respond_async import TaskError, task, update_progress

__all__ = ["MailReport", "Refused", "bulk_mail"]

_TIMEOUT_SECONDS: Final = 30.0
#: So often in a row nothing may come of it.
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.5
#: Codes from here on are for good (RFC 5321 4.2.1).
_PERMANENT: Final = 500

logger = logging.getLogger(__name__)

#: Nothing that could leave its header; what else a mailbox may be, its server knows.
Address = Annotated[str, Field(pattern=r'^[^@\s<>,;:\\"]+@[^@\s<>,;:\\"]+$', max_length=254)]


class Refused(BaseModel):
    """A recipient that the server does not take."""

    recipient: str
    code: int
    reason: str


class MailReport(BaseModel):
    """What became of the mail."""

    sent: int
    refused: list[Refused]
    #: How often the server was connected to.
    connections: int


# Not idempotent: a worker that dies leaves some who have the mail, and nobody wants it twice.
@task(name="bulk_mail", public=True, idempotent=False)
def bulk_mail(
    sender: Address,
    recipients: Annotated[list[Address], Field(min_length=1, max_length=10_000)],
    subject: Annotated[str, Field(pattern=r"^[^\r\n]*$", max_length=200)],
    text: Annotated[str, Field(max_length=100_000)],
) -> MailReport:
    """Sends each recipient a mail of its own.

    Who is refused for good (5xx) is in the report, and the job completes. What may pass (4xx, a
    connection that cannot be made or breaks) is tried again. The one mail that was under way when
    a connection broke may arrive twice, with the same Message-ID.

    Raises:
        TaskError: `mail_unavailable` or `sender_refused`; its details are the report so far.
    """
    mailing = _Mailing(_mail(sender, each, subject, text) for each in dict.fromkeys(recipients))
    failures = 0
    while mailing.waiting:
        left, error = len(mailing.waiting), None
        try:
            mailing.go_on()
        except (smtplib.SMTPException, OSError) as raised:
            error = raised
        failures = failures + 1 if len(mailing.waiting) == left else 0
        if isinstance(error, smtplib.SMTPSenderRefused) and error.smtp_code >= _PERMANENT:
            said = _said(error.smtp_error)
            raise TaskError("sender_refused", said, mailing.report().model_dump()) from error
        if failures == _ATTEMPTS and error is not None:
            message = f"{left} have no mail: the server was not there {_ATTEMPTS} times in a row."
            raise TaskError("mail_unavailable", message, mailing.report().model_dump()) from error
        if failures == _ATTEMPTS:
            mailing.give_up()
        elif mailing.waiting:
            pause = _PAUSE_SECONDS * 2**failures
            logger.warning("%d wait %.0f s: %s", len(mailing.waiting), pause, error or "deferred")
            time.sleep(pause)
    return mailing.report()


class _Mailing:
    def __init__(self, mails: Iterable[EmailMessage]) -> None:
        #: Neither sent nor refused for good. A mail leaves only once the server has answered.
        self.waiting: Final = deque(mails)
        self._total: Final = len(self.waiting)
        self._sent = self._connections = 0
        self._refused: Final[list[Refused]] = []
        #: Why they were put off, the last time.
        self._deferred: Final[dict[str, Refused]] = {}

    def go_on(self) -> None:
        """Tries each that waits, once.

        Raises:
            smtplib.SMTPException: The server ends it, or answers as no server may.
            OSError: The connection cannot be made, or breaks.
        """
        host, port = EXAMPLES.smtp_host, EXAMPLES.smtp_port
        with smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS) as server:
            self._connections += 1
            for _ in range(len(self.waiting)):
                mail = self.waiting[0]
                refused = _refused(server, mail)
                self.waiting.popleft()
                if refused is None:
                    self._sent += 1
                elif refused.code >= _PERMANENT:
                    self._refused.append(refused)
                else:
                    self._deferred[refused.recipient] = refused
                    self.waiting.append(mail)
                done = self._total - len(self.waiting)
                update_progress(done, self._total, f"{len(self._refused)} refused")

    def give_up(self) -> None:
        """Takes what was put off for refused."""
        self._refused.extend(self._deferred[mail["To"]] for mail in self.waiting)
        self.waiting.clear()

    def report(self) -> MailReport:
        """What there is to say by now."""
        return MailReport(sent=self._sent, refused=self._refused, connections=self._connections)


def _mail(sender: str, recipient: str, subject: str, text: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=sender.partition("@")[2])
    mail.set_content(text)
    return mail


def _refused(server: smtplib.SMTP, mail: EmailMessage) -> Refused | None:
    """Sends it; who was refused, if so."""
    recipient = mail["To"]
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        ((code, said),) = error.recipients.values()
        return Refused(recipient=recipient, code=code, reason=_said(said))
    except smtplib.SMTPDataError as error:
        return Refused(recipient=recipient, code=error.smtp_code, reason=_said(error.smtp_error))
    return None


def _said(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
