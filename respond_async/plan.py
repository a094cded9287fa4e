"""How one request is to run in the worker: travels with it, and is sealed as it is."""

import random
from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# The largest power of two that is worth computing; the longest delay is reached far before.
_MOST_DOUBLINGS: Final = 60


def _names(given: Any) -> Any:
    if isinstance(given, list | tuple | set | frozenset):
        return tuple(qualified_name(one) if isinstance(one, type) else one for one in given)
    return given


class Retry(BaseModel):
    """When a request that has failed is tried again, and how much later.

    The delay doubles from one attempt to the next and is drawn at random from its upper half, so
    that what failed together does not come back together. Meanwhile the request is in the broker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Statuses of the answer; a timeout's is 504.
    statuses: frozenset[Annotated[int, Field(ge=100, le=599)]] = frozenset({502, 503, 504})
    #: Exceptions that leave the app, and those derived from them; classes, or "module.Class".
    exceptions: Annotated[tuple[str | type[BaseException], ...], BeforeValidator(_names)] = ()
    #: Attempts after the first.
    times: int = Field(default=3, gt=0)
    #: Before the second attempt.
    backoff_seconds: float = Field(default=1.0, gt=0)
    backoff_max_seconds: float = Field(default=600.0, gt=0)

    def delay(self, status: int, raised: Collection[str], retries: int) -> float | None:
        """Seconds until the next attempt; None if this answer stands.

        Args:
            status: Of what this attempt answered.
            raised: What left the app, as `raised_names` gives it.
            retries: How many attempts were made before this one.
        """
        failed = status in self.statuses or not set(self.exceptions).isdisjoint(raised)
        if not failed or retries >= self.times:
            return None
        doubled = self.backoff_seconds * 2.0 ** min(retries, _MOST_DOUBLINGS)
        # Spreads load, hides nothing.
        return min(doubled, self.backoff_max_seconds) * random.uniform(0.5, 1.0)  # noqa: S311


class Plan(BaseModel):
    """What an endpoint's `async_options` make of one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The queue; None: KAFKA_TOPIC.
    queue: str | None = None
    #: Celery's: 0 to 9, as far as the broker knows priorities.
    priority: int | None = None
    #: Instead of REPLAY_TIMEOUT_SECONDS.
    timeout_seconds: float | None = None
    retry: Retry | None = None
    #: Requests of one key go to one partition and so are taken in order.
    partition_key: str | None = None

    def publish_options(self) -> dict[str, Any]:
        """What Celery is given beside the queue; also for a retry."""
        options: dict[str, Any] = {}
        if self.priority is not None:
            options["priority"] = self.priority
        if self.partition_key is not None:
            options["partition_key"] = self.partition_key
        return options


class EndpointOptions(BaseModel):
    """What a setting says of an endpoint: the arguments of `async_options`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = None
    priority: int | None = None
    timeout: float | None = None
    retries: Retry | None = None
    partition_key: str | None = None


def qualified_name(kind: type) -> str:
    """`module.Class`, as `Retry.exceptions` names it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def raised_names(error: BaseException) -> tuple[str, ...]:
    """The names of an exception's class and of those it is derived from."""
    kinds: Collection[type] = type(error).__mro__
    return tuple(qualified_name(kind) for kind in kinds if issubclass(kind, BaseException))
