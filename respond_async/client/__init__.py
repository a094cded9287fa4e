"""For httpx users: requests that are answered asynchronously, as if they were not.

    client = httpx.Client(transport=AsyncRequestTransport())
    response = client.post(url, files=files, extensions={"async": True})

`response` is the endpoint's own: status, headers, body, however long it took. The same transport
serves `httpx.AsyncClient`. `request_async` does it for a client whose transport stays as it is.
Needs httpx alone, neither Celery nor Kafka.
"""

from respond_async.client.errors import AsyncRequestError, ResultTimeout, ResultUnavailable
from respond_async.client.requesting import request_async
from respond_async.client.steps import Job
from respond_async.client.transport import AsyncRequestTransport

__all__ = [
    "AsyncRequestError",
    "AsyncRequestTransport",
    "Job",
    "ResultTimeout",
    "ResultUnavailable",
    "request_async",
]
