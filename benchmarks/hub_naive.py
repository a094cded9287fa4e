"""The hub that one writes in an afternoon: a Redis connection for each socket, no history."""

import os

import redis.asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def listen(websocket: WebSocket) -> None:
    await websocket.accept()
    async with redis.asyncio.from_url(os.environ["REDIS_URL"]) as client:
        pubsub = client.pubsub()
        await pubsub.subscribe(f"naive:{websocket.query_params['channel']}")
        await websocket.send_text('{"type":"subscribed"}')
        async for message in pubsub.listen():
            if message["type"] == "message":
                await websocket.send_text(message["data"].decode())


async def livez(_: object) -> PlainTextResponse:
    return PlainTextResponse("ok")


app = Starlette(routes=[WebSocketRoute("/ws", listen), Route("/livez", livez)])
