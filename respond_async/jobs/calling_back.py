"""What is called when a job has ended: its function's `on_end`, and its webhook.

Owed in Redis from the same moment as the end, so that a worker that dies owes it on; called at least
once. Webhooks are signed as Standard Webhooks 1.0 has it.
"""

import base64
import hmac
import inspect
import json
import logging
import time
from dataclasses import asdict
from typing import Final

import httpx

from respond_async.jobs.config import TaskConfig
from respond_async.jobs.definition import DEFINITIONS, Definition
from respond_async.jobs.record import Job

logger = logging.getLogger(__name__)

#: So often it is tried in all, the last time after some eight hours.
ATTEMPTS: Final = 9
_FIRST_SECONDS: Final = 1.0
_FACTOR: Final = 5.0
_LONGEST_SECONDS: Final = 4 * 3600.0
_WEBHOOK_TIMEOUT_SECONDS: Final = 10.0


class NotCalled(Exception):
    """It is to be tried again."""


class GivenUp(Exception):
    """It is not to be tried again."""


def seconds_after(failures: int) -> float:
    """How long to wait after so many failures."""
    return min(_FIRST_SECONDS * _FACTOR ** (failures - 1), _LONGEST_SECONDS)


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret.encode(), signed, "sha256")
    return "v1," + base64.b64encode(digest).decode()


async def call_back(job: Job, function: str, webhook: str, config: TaskConfig) -> None:
    """Calls everything that is owed for a job.

    Args:
        job: As it ended.
        function: The registered name.
        webhook: Where to post; "" for nowhere.
        config: Its secret.

    Raises:
        NotCalled: Something failed.
        GivenUp: The receiver wants no more (410).
    """
    definition = DEFINITIONS.get(function)
    if definition is not None and definition.on_end is not None:
        try:
            called = definition.on_end(job)
            if inspect.isawaitable(called):
                await called
        except Exception as error:
            raise NotCalled(f"on_end of {function}: {error!r}") from error
    if webhook:
        await _post(job, webhook, config.webhook_secret)


async def _post(job: Job, url: str, secret: str) -> None:
    error = asdict(job.error) if job.error else None
    if error is not None:
        # Its owner's alone.
        del error["traceback"]
    told = {
        "task_id": job.id,
        "name": job.name,
        "status": job.status,
        "result": job.result,
        "error": error,
    }
    assert job.completed is not None
    event = {"type": "task.ended", "timestamp": job.completed.isoformat(), "data": told}
    body, now = json.dumps(event).encode(), int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": job.id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, job.id, now, body),
    }
    try:
        async with httpx.AsyncClient(timeout=_WEBHOOK_TIMEOUT_SECONDS) as client:
            answer = await client.post(url, content=body, headers=headers)
    except httpx.HTTPError as error:
        raise NotCalled(f"the webhook of {job.id}: {error!r}") from error
    if answer.status_code == httpx.codes.GONE:
        raise GivenUp(f"the webhook of {job.id} is gone")
    if not answer.is_success:
        raise NotCalled(f"the webhook of {job.id} answered {answer.status_code}")


def owed(definition: Definition, webhook: str) -> list[str]:
    """The field of a new record that says whether anything is to be called."""
    return ["owed", "1"] if webhook or definition.on_end is not None else []
