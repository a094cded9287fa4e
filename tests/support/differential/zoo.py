"""An application with one of each: what its answers are made of shows what a request was."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, FastAPI, File, Form, HTTPException, UploadFile
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

DONE: list[str] = []


class Order(BaseModel):
    article: str
    pieces: int


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"stock": 3}


async def echo(request: Request) -> Response:
    scope = request.scope
    body = await request.body()
    return JSONResponse(
        {
            "type": scope["type"],
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "root_path": scope["root_path"],
            "scheme": scope["scheme"],
            "http_version": scope["http_version"],
            # Ports differ from connection to connection.
            "client": scope["client"][0],
            "server": scope["server"][0],
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]],
            "cookies": request.cookies,
            "url": str(request.url),
            "path_params": request.path_params,
            "state": getattr(request.state, "stock", None),
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
    )


async def fails(_: Request) -> Response:
    raise RuntimeError("secret detail")


async def one_message(scope: Any, receive: Any, send: Any) -> None:
    """Reads a single message of the body, as careless apps do."""
    message = await receive()
    body = b"%d %r" % (len(message.get("body", b"")), message.get("more_body", False))
    await send({"type": "http.response.start", "status": 299, "headers": [(b"X-Odd", b"\xff\x80")]})
    await send({"type": "http.response.body", "body": body})


async def digest(scope: Any, receive: Any, send: Any) -> None:
    """Reads a body of any size and holds none of it."""
    seen, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        seen.update(message.get("body", b""))
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{size} {seen.hexdigest()}".encode()})


async def adds_header(request: Request, call_next: Any) -> Response:
    size = len(await request.body()) if request.url.path == "/form" else 0
    response: Response = await call_next(request)
    response.headers["x-by-middleware"] = str(size)
    return response


def create_app(*, debug: bool = False) -> FastAPI:
    app = FastAPI(lifespan=lifespan, debug=debug)
    app.add_middleware(GZipMiddleware, minimum_size=2000)
    app.add_middleware(CORSMiddleware, allow_origins=["https://front.example"])
    app.add_middleware(BaseHTTPMiddleware, dispatch=adds_header)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "X-ODD"]
    app.router.routes.append(Route("/echo/{rest:path}", echo, methods=methods, name="echo"))
    plain = Starlette(routes=[Route("/echo/{rest:path}", echo, methods=methods)])
    app.mount("/starlette", plain)
    inner = FastAPI()
    inner.add_api_route("/orders", orders, methods=["POST"])
    inner.router.routes.append(Mount("/deeper", plain))
    app.mount("/fastapi", inner)
    app.mount("/raw", one_message)
    app.mount("/debug", Starlette(debug=True, routes=[Route("/fail", fails)]))
    app.mount(
        "/with-middleware",
        Starlette(
            routes=[Route("/fail", fails)], middleware=[Middleware(GZipMiddleware, minimum_size=1)]
        ),
    )
    app.router.routes.append(Route("/fail", fails))
    app.add_api_route("/orders", orders, methods=["POST"], status_code=201)
    app.add_api_route("/form", form, methods=["POST"])
    app.add_api_route("/upload", upload, methods=["POST"])
    for answer in (status, cookies, redirect, stream, sse, file, page, sized, named):
        app.add_api_route(f"/{answer.__name__}", answer, response_model=None)
    app.add_api_route("/background", background)
    app.add_api_route("/error", error)
    return app


async def orders(order: Order) -> Order:
    return order


async def form(name: Annotated[str, Form()], age: Annotated[int, Form()] = 0) -> dict[str, Any]:
    return {"name": name, "age": age}


async def upload(files: Annotated[list[UploadFile], File()], note: str = "") -> list[Any]:
    return [
        [f.filename, f.content_type, hashlib.sha256(await f.read()).hexdigest(), note]
        for f in files
    ]


async def status(code: int = 200) -> Response:
    return Response(status_code=code)


async def cookies(request: Request) -> Response:
    response = PlainTextResponse("cookies")
    for name in request.query_params.getlist("name"):
        response.set_cookie(name, "value", httponly=True, samesite="strict", path="/x")
    response.headers.append("X-Repeated", "1")
    response.headers.append("x-repeated", "2")
    return response


async def redirect(to: str = "/elsewhere", code: int = 307) -> Response:
    return RedirectResponse(to, code)


async def stream(parts: int = 3, size: int = 10) -> Response:
    async def content() -> AsyncIterator[bytes]:
        for part in range(parts):
            await asyncio.sleep(0)
            yield bytes([part % 256]) * size

    return StreamingResponse(content(), media_type="application/octet-stream")


async def stream_plain(request: Request) -> Response:
    return await stream(int(request.query_params["parts"]), int(request.query_params["size"]))


async def sse(events: int = 3) -> Response:
    async def content() -> AsyncIterator[str]:
        for event in range(events):
            await asyncio.sleep(0)
            yield f"id: {event}\ndata: größe {event}\n\n"

    return StreamingResponse(content(), media_type="text/event-stream")


async def file() -> Response:
    return FileResponse(Path(__file__), filename="zoo ä.py")


async def page() -> Response:
    return HTMLResponse("<p>größe</p>" * 500)


async def sized(size: int = 0) -> Response:
    return Response(bytes(range(256)) * (size // 256), media_type="image/png")


async def named(request: Request) -> Response:
    return PlainTextResponse(str(request.url_for("echo", rest="a b/c")))


async def background(tasks: BackgroundTasks, name: str = "") -> str:
    async def later() -> None:
        await asyncio.sleep(0.01)
        DONE.append(name)

    tasks.add_task(later)
    return "soon"


async def error(code: int = 418, detail: str = "no") -> None:
    raise HTTPException(code, detail, {"X-Reason": "teapot"})


app = create_app()
#: Without middlewares, which hold what they pass.
bare = Starlette(routes=[Mount("/digest", digest), Route("/stream", stream_plain)])
