"""httpbin, as anybody may have it, behind the usual adapter: `uvicorn ...httpbin_app:app`."""

from typing import Any

from a2wsgi import WSGIMiddleware
from httpbin import app as httpbin

app: Any = WSGIMiddleware(httpbin)
