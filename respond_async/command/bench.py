"""`respond-async bench`: a quick load on one endpoint, and what came of it.

One process asks, so it is a look and no benchmark: the figures are those of service and client
together, and the client says how busy it was.
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Final

import httpx
import typer
from rich.console import Console
from rich.table import Table

from respond_async.client import Job, request_async
from respond_async.command.asking import (
    Channel,
    Data,
    Headers,
    Token,
    address,
    body_of,
    headers_of,
)

__all__ = ["Figures", "bench", "percentile"]

#: A client that was busier may be what was measured.
_BUSY: Final = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What was measured; times in seconds, None where nothing was."""

    requests: int
    concurrency: int
    accepted: int
    accepts_per_second: float | None
    accept_p50: float | None
    accept_p99: float | None
    answered: int
    end_to_end_p50: float | None
    end_to_end_p99: float | None
    #: Answers by status, those of the endpoint and refusals to accept alike.
    statuses: dict[str, int]
    #: Requests without an answer, by the reason.
    errors: dict[str, int]
    #: Of a core, while it ran.
    client_cpu: float


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    #: Seconds that its answer may take.
    timeout: float


@dataclass(slots=True)
class _Load:
    """What is sent, and what came of it so far."""

    client: httpx.AsyncClient
    request: _Request
    accepts: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    last_accepted: float = 0.0

    async def one(self, free: asyncio.Semaphore) -> None:
        """One request; makes room for another once it is accepted or has failed."""
        begun = time.monotonic()
        waiting = True

        def accepted(_: Job) -> None:
            nonlocal waiting
            waiting = False
            self.last_accepted = time.monotonic()
            self.accepts.append(self.last_accepted - begun)
            free.release()

        try:
            answer = await request_async(
                self.client, self.request.method, self.request.url, headers=self.request.headers,
                content=self.request.body, timeout_seconds=self.request.timeout,
                on_accepted=accepted,
            )  # fmt: skip
        except httpx.HTTPError as error:
            self.errors[type(error).__name__] += 1
        else:
            self.statuses[str(answer.status_code)] += 1
            if not waiting:
                self.answers.append(time.monotonic() - begun)
        finally:
            if waiting:
                free.release()


def bench(
    url: Annotated[str, typer.Argument(help="The endpoint's.")],
    *,
    method: Annotated[str, typer.Option("-X", "--method")] = "GET",
    requests: Annotated[int, typer.Option("-n", "--requests", min=1, max=10_000)] = 200,
    concurrency: Annotated[
        int, typer.Option("-c", "--concurrency", min=1, max=500, help="Sent at the same time.")
    ] = 20,
    header: Headers = None,
    data: Data = None,
    token: Token = None,
    channel: Channel = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that an answer may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Load an endpoint for a moment: requests accepted a second, and times from send to answer.

    Results are waited for by long-poll, as the Python client does. Exit code 1 unless every request
    was accepted and answered below 500.
    """
    body = body_of(data)
    headers = headers_of(header, token, channel, body)
    request = _Request(method.upper(), address(url), headers, body, timeout)
    figures = asyncio.run(_run(request, requests, concurrency))
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
    else:
        _show(figures)
    failed = sum(n for status, n in figures.statuses.items() if status >= "500")
    raise typer.Exit(int(bool(failed) or figures.answered < figures.requests))


def percentile(times: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile: a time that was measured, none in between."""
    if not times:
        return None
    return sorted(times)[math.ceil(share * len(times)) - 1]


async def _run(request: _Request, requests: int, concurrency: int) -> Figures:
    # One connection for each request that waits.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=requests)
    async with httpx.AsyncClient(limits=limits, timeout=request.timeout) as client:
        load = _Load(client, request)
        free = asyncio.Semaphore(concurrency)
        begun, cpu = time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(requests):
                await free.acquire()
                tasks.create_task(load.one(free))
        took, busy = time.monotonic() - begun, time.process_time() - cpu
    accepting = load.last_accepted - begun
    return Figures(
        requests=requests,
        concurrency=concurrency,
        accepted=len(load.accepts),
        accepts_per_second=len(load.accepts) / accepting if load.accepts else None,
        accept_p50=percentile(load.accepts, 0.5),
        accept_p99=percentile(load.accepts, 0.99),
        answered=len(load.answers),
        end_to_end_p50=percentile(load.answers, 0.5),
        end_to_end_p99=percentile(load.answers, 0.99),
        statuses=dict(sorted(load.statuses.items())),
        errors=dict(sorted(load.errors.items())),
        client_cpu=busy / took,
    )


def _show(figures: Figures) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    rate = figures.accepts_per_second
    for name, value in (
        ("requests", f"{figures.requests}, {figures.concurrency} at a time"),
        ("accepted", str(figures.accepted)),
        ("accepted a second", "-" if rate is None else f"{rate:.0f}"),
        ("to the 202, p50 / p99", f"{_ms(figures.accept_p50)} / {_ms(figures.accept_p99)}"),
        ("answered", str(figures.answered)),
        ("to the answer, p50 / p99",
         f"{_ms(figures.end_to_end_p50)} / {_ms(figures.end_to_end_p99)}"),
        *((f"status {status}", str(count)) for status, count in figures.statuses.items()),
        *((f"no answer: {name}", str(count)) for name, count in figures.errors.items()),
        ("this client", f"{figures.client_cpu:.0%} of a core"),
    ):  # fmt: skip
        table.add_row(name, value)
    Console(highlight=False).print(table)
    if figures.client_cpu > _BUSY:
        typer.echo("this client was busy: it is part of what was measured", err=True)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
