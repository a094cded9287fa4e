"""How many tasks are in flight where nobody said it."""

from typing import Any, Final

from celery import signals

__all__ = ["DEFAULT_CONCURRENCY"]

#: Celery's own default is the number of processors, which is for tasks that compute.
DEFAULT_CONCURRENCY: Final = 250

_POOL: Final = "respond_async.pool"


def _set_default(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """Sets the default, if this pool was chosen and neither -c nor worker_concurrency is given."""
    chosen = options.get("pool_cls") or conf.worker_pool
    name = chosen if isinstance(chosen, str) else getattr(chosen, "__module__", "")
    if (
        name.partition(":")[0].startswith(_POOL)
        and not options.get("concurrency")
        and not conf.worker_concurrency
    ):
        conf.worker_concurrency = DEFAULT_CONCURRENCY


signals.celeryd_init.connect(_set_default, weak=False, dispatch_uid=f"{_POOL}.concurrency")
