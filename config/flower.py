"""Flower's configuration: `celery -A tasks flower --conf=config/flower.py`.

Every name here is an option of Flower's own. Flower reads `FLOWER_…` variables before this file
and lets the file win, so each value here gives way to its variable itself.
"""

import os

import kafka_transport.flower  # noqa: F401 - the broker tab
from config.logging import configure_logging

__all__: list[str] = []

#: `user:password`, several separated by commas.
basic_auth = [pair for pair in os.environ.get("FLOWER_BASIC_AUTH", "").split(",") if pair]

#: Flower can stop workers: without a password or OAuth it listens to this machine only.
_open = bool(basic_auth or os.environ.get("FLOWER_AUTH"))
address = os.environ.get("FLOWER_ADDRESS", "0.0.0.0" if _open else "127.0.0.1")  # noqa: S104 - in a container, behind a login
port = int(os.environ.get("FLOWER_PORT", "5555"))

#: The path it is served under behind a proxy, such as `flower`; empty: the root.
url_prefix = os.environ.get("FLOWER_URL_PREFIX", "")

#: Seconds after which a worker that left is no longer listed: workers come and go by lifetime.
purge_offline_workers = int(os.environ.get("FLOWER_PURGE_OFFLINE_WORKERS", "60"))

#: Tasks kept in memory.
max_tasks = int(os.environ.get("FLOWER_MAX_TASKS", "20000"))

#: `args` is a replay's method and path (`argsrepr`); its kwargs and result say nothing more.
tasks_columns = os.environ.get(
    "FLOWER_TASKS_COLUMNS", "name,args,uuid,state,received,started,runtime,worker"
)

#: Tornado sets up no logging: Flower writes its lines as the app and the worker do.
logging = "none"
configure_logging()
