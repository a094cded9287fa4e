"""The FastAPI application of a small user project, with endpoints that show what they were given."""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from celery import Celery
from fastapi import (
    Depends,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    Response,
    UploadFile,
    WebSocket,
)
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from respond_async import (
    AsyncRequests,
    Identity,
    Retry,
    Settings,
    async_options,
    current_identity,
    optional_identity,
    replay_info,
    require_async,
)


class FlakyError(ConnectionError):
    pass


class Order(BaseModel):
    article: str
    pieces: int


class AddsHeaders:
    """A middleware that changes the scope it is given, as careless ones do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["headers"] = [*scope["headers"], (b"x-added", b"by-middleware")]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-served", b"shop")]
            await send(message)

        await self.app(scope, receive, answer)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    mark("lifespan-start")
    yield {"stock": {"apples": 3}}
    mark("lifespan-end")


def mark(what: str) -> None:
    """Appends a line to the file that the test reads, with this process' id."""
    if "SHOP_MARKS" in os.environ:
        with Path(os.environ["SHOP_MARKS"]).open("a") as file:
            file.write(f"{what} {os.getpid()}\n")


def create_app(settings: Settings | None = None, celery: Celery | str | None = None) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    AsyncRequests(app, celery=celery or "tests.support.shop.worker:celery", settings=settings)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(AddsHeaders)

    @app.api_route("/echo/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def echo(request: Request) -> dict[str, Any]:
        scope = request.scope
        return {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "root_path": scope["root_path"],
            "scheme": scope["scheme"],
            "http_version": scope["http_version"],
            "client": scope["client"],
            "server": scope["server"],
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in scope["headers"]
                if name != b"x-async-request"
            ],
            "body": (await request.body()).decode("latin-1"),
            "stock": request.state.stock,
        }

    @app.post("/digest")
    async def digest(request: Request) -> dict[str, Any]:
        body = await request.body()
        return {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @app.post("/upload")
    def upload(
        file: Annotated[UploadFile, File()], note: Annotated[str, Form()] = ""
    ) -> dict[str, Any]:
        data = file.file.read()
        return {
            "name": file.filename,
            "note": note,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    @app.post("/orders", status_code=201)
    async def orders(order: Order, response: Response) -> Order:
        response.headers.append("set-cookie", "a=1; Path=/")
        response.headers.append("set-cookie", "b=2; Path=/")
        return order

    @app.get("/answers/{kind}")
    async def answers(kind: str) -> Response:
        return ANSWERS[kind]()

    @app.head("/head")
    async def head() -> PlainTextResponse:
        return PlainTextResponse("what GET would answer")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app.mount("/mounted", PlainTextResponse("mounted"))

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403, "not for you")

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("secret detail of the crash")

    @app.get("/broken-off")
    async def broken_off() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"half of "
            raise RuntimeError("no second half")

        return StreamingResponse(parts())

    @app.get("/me")
    async def me(
        request: Request, identity: Annotated[Identity, Depends(current_identity)]
    ) -> dict[str, Any]:
        return {"sub": identity.sub, "replayed": replay_info(request.scope) is not None}

    @app.get("/maybe")
    async def maybe(
        identity: Annotated[Identity | None, Depends(optional_identity)],
    ) -> dict[str, Any]:
        return {"known": identity is not None}

    @app.get("/only-async", dependencies=[Depends(require_async)])
    async def only_async() -> str:
        return "done"

    @app.get("/sleep")
    async def sleep(seconds: float, name: str = "") -> str:
        mark(f"begin-{name}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            mark(f"cancelled-{name}")
            raise
        mark(f"end-{name}")
        return name

    @app.get(
        "/flaky",
        dependencies=[
            Depends(async_options(retries=Retry(exceptions=(FlakyError,), backoff_seconds=0.2)))
        ],
    )
    async def flaky(times: int, name: str, how: str = "503") -> Response:
        mark(f"flaky-{name}")
        if Path(os.environ["SHOP_MARKS"]).read_text().count(f"flaky-{name} ") > times:
            return PlainTextResponse("in the end")
        if how == "raise":
            raise FlakyError("not yet")
        return PlainTextResponse("not yet", int(how))

    @app.get("/in-time", dependencies=[Depends(async_options(timeout=0.3))])
    async def in_time(seconds: float, name: str) -> str:
        return await sleep(seconds, name)

    @app.put(
        "/items/{item_id}",
        dependencies=[
            Depends(async_options(queue="items", priority=3, partition_key="path:item_id"))
        ],
    )
    async def item(item_id: str) -> str:
        return item_id

    @app.get("/block")
    def block(seconds: float) -> str:
        time.sleep(seconds)
        return "unblocked"

    @app.get("/kill")
    async def kill(request: Request, times: int, name: str) -> str:
        mark(f"kill-{name}")
        if Path(os.environ["SHOP_MARKS"]).read_text().count(f"kill-{name} ") <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    return app


def _repeated() -> Response:
    response = PlainTextResponse("twice")
    response.headers.append("x-twice", "1")
    response.headers.append("x-twice", "2")
    return response


ANSWERS: dict[str, Callable[[], Response]] = {
    "json": lambda: Response('{"a": 1.0, "z":  [1e400, "\\u00e9"]}', media_type="application/json"),
    "large-json": lambda: Response(
        '{"rows": [' + ", ".join(["1"] * 2000) + "]}", media_type="application/json"
    ),
    "nan": lambda: Response('{"a": NaN}', media_type="application/json"),
    "problem": lambda: Response('{"title": "No"}', 409, media_type="application/problem+json"),
    "text": lambda: PlainTextResponse("größe"),
    "latin": lambda: Response("größe".encode("latin-1"), media_type="text/plain; charset=latin-1"),
    "csv": lambda: Response("a,b\r\n1,2\r\n", media_type="text/csv"),
    "png": lambda: Response(b"\x89PNG\r\n\x1a\n\x00", media_type="image/png"),
    "untyped": lambda: Response(b"\x00\x01"),
    "empty": lambda: Response(status_code=204),
    "repeated": _repeated,
    "large": lambda: Response(b"x" * 3_000_000, media_type="application/octet-stream"),
}

Handler = Callable[[Request], Awaitable[Response]]

app = create_app()
