"""Whether a process can do its work now: each thing it needs, with a reason.

Each check has a deadline, and all are made at most once a second however often is asked: a probe
that everybody can reach must not be a way to overload what it asks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Check", "Readiness", "Report"]

_DEADLINE_SECONDS: Final = 3.0
_KEPT_SECONDS: Final = 1.0
_OK: Final = "ok"

#: Returns if it is well; what it raises is the reason.
Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    #: `degraded`: what failed is not needed to take requests.
    status: Literal["ok", "degraded", "unavailable"]
    #: "ok", or why not; by name.
    checks: dict[str, str]

    @property
    def http_status(self) -> int:
        """503 only if it is unavailable."""
        return 503 if self.status == "unavailable" else 200


class Readiness:
    """Asks.

    Args:
        checks: By name.
        dispensable: Those without which the process is ready all the same, and `degraded`.
    """

    def __init__(self, checks: Mapping[str, Check], dispensable: Collection[str] = ()) -> None:
        self._checks: Final = checks
        self._dispensable: Final = frozenset(dispensable)
        self._lock: Final = asyncio.Lock()
        self._known: tuple[float, Report] | None = None

    async def report(self) -> Report:
        """What was found at most a second ago; within 3 s or so."""
        async with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _KEPT_SECONDS:
                report = await self._asked()
                self._known = (time.monotonic(), report)
            return self._known[1]

    async def _asked(self) -> Report:
        reasons = await asyncio.gather(*map(_reason, self._checks.values()))
        checks = dict(zip(self._checks, reasons, strict=True))
        failed = {name for name, reason in checks.items() if reason != _OK}
        if failed - self._dispensable:
            return Report("unavailable", checks)
        return Report("degraded" if failed else "ok", checks)


async def _reason(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), _DEADLINE_SECONDS)
    except TimeoutError as error:
        return str(error) or f"no answer within {_DEADLINE_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"{type(error).__name__}: {error}"
    return _OK
