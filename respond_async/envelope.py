"""The captured request as it travels to the worker.

On the wire: one line of JSON, a line end, the body as `compression` packs it; all of it sealed. Header
and path bytes stand in the JSON as Latin-1 text, which maps every byte to one character.
"""

from datetime import datetime
from typing import Any, Final, Literal, Self
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from respond_async.compression import packed, unpacked
from respond_async.errors import EnvelopeError
from respond_async.plan import Plan
from respond_async.scope import REQUEST_ID, ROUTE, TRACE
from respond_async.sealing import Sealer

Address = tuple[str, int | None]

# An older worker cannot read what has the field.
_WITHOUT_TRACE: Final = {"trace"}


class BodyClaim(BaseModel):
    """Says that a body is kept in the claim store, under its task's id."""

    model_config = ConfigDict(frozen=True)

    size: int
    pieces: int


class CapturedRequest(BaseModel):
    """A request, byte for byte; its `repr` shows method and path alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    task_id: str
    #: The moment that the request's token is judged by.
    accepted_at: AwareDatetime
    #: The internal name of the owner's channel.
    channel: str
    method: str
    scheme: str
    http_version: str
    path: str
    #: Latin-1 text of the bytes, as is `query_string` and each part of `headers`.
    raw_path: str
    root_path: str
    query_string: str
    headers: tuple[tuple[str, str], ...]
    client: Address | None
    server: Address | None
    #: Set if the body is in the claim store instead of the message.
    claim: BodyClaim | None = None
    #: How it is to run.
    plan: Plan | None = None
    #: What logs call the request, in app and worker.
    request_id: str = ""
    #: The label of its endpoint in metrics; "": not known.
    route: str = ""
    #: The context of its trace, as W3C headers; empty: there are no traces.
    trace: dict[str, str] = {}

    @property
    def queue(self) -> str | None:
        """The queue that its endpoint chose; None: that of the settings."""
        return self.plan.queue if self.plan else None

    @classmethod
    def of(
        cls,
        scope: dict[str, Any],
        task_id: str,
        accepted_at: datetime,
        channel: str,
        *,
        claim: BodyClaim | None = None,
        plan: Plan | None = None,
    ) -> Self:
        """Takes what a replay needs out of an ASGI HTTP scope."""
        raw_path = scope.get("raw_path") or quote(scope["path"], errors="replace").encode()
        return cls(
            task_id=task_id,
            accepted_at=accepted_at,
            channel=channel,
            method=scope["method"],
            scheme=scope.get("scheme", "http"),
            http_version=scope.get("http_version", "1.1"),
            path=scope["path"],
            raw_path=raw_path.decode("latin-1"),
            root_path=scope.get("root_path", ""),
            query_string=scope.get("query_string", b"").decode("latin-1"),
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            ),
            client=scope.get("client"),
            server=scope.get("server"),
            request_id=scope.get(REQUEST_ID, ""),
            route=scope.get(ROUTE, ""),
            trace=scope.get(TRACE) or {},
            claim=claim,
            plan=plan,
        )

    @property
    def endpoint(self) -> str:
        """The path and query as they were requested."""
        return f"{self.raw_path}?{self.query_string}" if self.query_string else self.raw_path

    def scope(self) -> dict[str, Any]:
        """The ASGI scope it came with, without what belongs to the server's process."""
        return {
            "method": self.method,
            "scheme": self.scheme,
            "http_version": self.http_version,
            "path": self.path,
            "raw_path": self.raw_path.encode("latin-1"),
            "root_path": self.root_path,
            "query_string": self.query_string.encode("latin-1"),
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers
            ],
            "client": self.client,
            "server": self.server,
        }

    def sealed(self, body: bytes, sealer: Sealer) -> str:
        """The text that travels. A body named by `claim` is not in it."""
        carried = b"" if self.claim else body
        text = self.model_dump_json(exclude=None if self.trace else _WITHOUT_TRACE)
        return sealer.seal(text.encode() + b"\n" + packed(carried))

    @classmethod
    def opened(cls, sealed: object, sealer: Sealer) -> tuple[Self, bytes]:
        """The request and the body that travelled with it.

        Raises:
            EnvelopeError: It is not one of ours, or it is damaged.
        """
        head, _, body = sealer.open(sealed).partition(b"\n")
        try:
            request = cls.model_validate_json(head)
        except ValidationError:
            # `from None` and no text: pydantic's message quotes what it was given.
            raise EnvelopeError("the request is not one that this version can read") from None
        # Which fields the text had: half a kilobyte for each that waits, and nobody asks.
        request.model_fields_set.clear()
        return request, unpacked(body)

    def __repr__(self) -> str:
        return f"{self.method} {self.raw_path}"

    __str__ = __repr__
