"""What the app's own documentation says of captured endpoints."""

from typing import Any, Final

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}

#: Every endpoint that is captured may answer so.
ACCEPTED_RESPONSE: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "Accepted, if asked with `X-Async-Request` or `Prefer: respond-async`: the"
        " endpoint runs in a worker, its answer is fetched at `Location`.",
        "headers": {
            "Location": {"description": "Where the answer is fetched.", **_TEXT},
            "Retry-After": {"description": "Seconds until it is worth asking.", **_TEXT},
            "Preference-Applied": {"description": "RFC 7240 3.", **_TEXT},
        },
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["data", "meta"],
                    "properties": {
                        "data": {"type": "null"},
                        "meta": {
                            "type": "object",
                            "required": ["async_request_id"],
                            "properties": {
                                "async_request_id": {"type": "string"},
                                "channel": {
                                    "type": "string",
                                    "description": "Made for an anonymous caller; a secret.",
                                },
                            },
                        },
                    },
                }
            }
        },
    }
}
