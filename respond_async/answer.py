"""An endpoint's answer, as it is kept until its owner asks for it."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from respond_async.compression import packed, unpacked
from respond_async.envelope import BodyClaim
from respond_async.errors import EnvelopeError
from respond_async.problems import MEDIA_TYPE, problem_body
from respond_async.sealing import Sealer


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    #: Path and query as requested.
    endpoint: str
    status: int
    headers: tuple[tuple[str, str], ...]
    claim: BodyClaim | None = None


class Answer:
    """Status, headers and body, byte for byte.

    Attributes:
        status: The endpoint's own HTTP status.
        headers: Every header in order, repeats too, as Latin-1 text.
        body: As the app sent it; a content coding (gzip) is still on it.
        endpoint: What was asked, path and query; "" before it was stored.
        claim: Set if the body is in the claim store, and `body` empty.
        raised: The classes of the exception that left the app, if one did; not stored.
    """

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        claim: BodyClaim | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.claim = claim
        self.endpoint = ""
        self.raised: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Of the body, in bytes."""
        return self.claim.size if self.claim else len(self.body)

    @classmethod
    def problem(cls, status: int, detail: str, instance: str) -> Self:
        """What is answered instead of an endpoint that gave no answer (RFC 9457)."""
        body = problem_body(status, detail, instance)
        headers = (("content-type", MEDIA_TYPE), ("content-length", str(len(body))))
        return cls(status, headers, body)

    def header(self, name: str) -> str:
        """The first value of a header, "" if there is none; `name` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def sealed(self, task_id: str, endpoint: str, sealer: Sealer) -> "StoredAnswer":
        """What goes to Celery's result backend; it opens for this task alone."""
        head = _Head(
            task_id=task_id,
            endpoint=endpoint,
            status=self.status,
            headers=self.headers,
            claim=self.claim,
        )
        text = sealer.seal(head.model_dump_json().encode() + b"\n" + packed(self.body), task_id)
        return StoredAnswer(text, repr(self), self.status)

    @classmethod
    def opened(cls, stored: Any, task_id: str, sealer: Sealer) -> Self:
        """The answer of that task.

        Raises:
            EnvelopeError: It is not one of ours, another task's, or damaged.
        """
        text = stored.text if isinstance(stored, StoredAnswer) else stored
        head, _, body = sealer.open(text, task_id).partition(b"\n")
        try:
            known = _Head.model_validate_json(head)
        except ValidationError:
            raise EnvelopeError("the answer is not one that this version can read") from None
        if known.task_id != task_id:
            raise EnvelopeError("the answer is another task's")
        answer = cls(known.status, known.headers, unpacked(body), known.claim)
        answer.endpoint = known.endpoint
        return answer

    def __repr__(self) -> str:
        return f"{self.status}, {self.size} bytes"


class StoredAnswer:
    """A task's return value: Celery stores its text and shows its short `repr`.

    Neither a `str` nor a `dict`: Celery's log lines and events show the beginning of those.
    """

    def __init__(self, text: str, shown: str = "stored before", status: int = 0) -> None:
        self.text = text
        #: The answer's; 0: not known.
        self.status = status
        self._shown = shown

    def __json__(self) -> str:
        """For kombu's JSON encoder."""
        return self.text

    def __repr__(self) -> str:
        return self._shown
