"""Whether a process of the service is healthy, for the probes of Docker and Kubernetes.

    respond-async probe worker
    respond-async probe http://127.0.0.1:8000/readyz

`python -m respond_async.probe` is the same, where the package is not installed but on the path.
`worker` reads the file that the worker keeps (WORKER_HEARTBEAT_FILE): it asks no broker, costs
50 ms of CPU, and tells of a main loop or an event loop that hangs. Exit status 0: healthy; 1: not,
and the reason on standard error; 2: wrong use.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

__all__ = ["sick_url", "sick_worker"]

#: The worker writes every two seconds; a machine under load may let it wait.
_SILENT_SECONDS: Final = 15.0
_DEFAULT_STALE_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 5.0


def sick_worker(name: str, stale_seconds: float) -> str | None:
    """Why the worker that keeps this file is not healthy; None: it is.

    Args:
        name: The file.
        stale_seconds: How long a loop may be silent.
    """
    try:
        state = json.loads(Path(name).read_text(encoding="utf-8"))
        # The clock of this host since it was started, the same for all its processes.
        silent = time.monotonic() - state["at"]
        main_loop, pool_loop = state["main_loop"] + silent, state["pool_loop"]
    except OSError as error:
        return f"no worker has written {name}: {error.strerror}"
    except (ValueError, KeyError, TypeError) as error:
        return f"{name} is no heartbeat of a worker: {error!r}"
    if not -1 <= silent <= _SILENT_SECONDS:
        return f"the worker gave no sign of life for {silent:.0f} s"
    if main_loop > stale_seconds:
        return f"the worker's main loop hangs for {main_loop:.0f} s"
    if pool_loop > stale_seconds:
        return f"the event loop of the worker's pool is blocked for {pool_loop:.0f} s"
    return None


def sick_url(url: str) -> str | None:
    """Why what answers there is not healthy; None: it is."""
    try:
        # Not of the environment's proxies: what is asked is on this host.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(2000).decode('utf-8', 'replace')}"
    except OSError as error:
        return f"{url}: {error}"


def main(arguments: list[str]) -> int:
    """The command; gives its exit status."""
    if len(arguments) == 1 and arguments[0].startswith(("http://", "https://")):
        reason = sick_url(arguments[0])
    elif arguments == ["worker"]:
        # Not `Settings`: to import pydantic takes ten times as long as the rest.
        name = os.environ.get("WORKER_HEARTBEAT_FILE", "")
        if not name:
            sys.stderr.write("set WORKER_HEARTBEAT_FILE, for the worker and here\n")
            return 2
        stale = float(os.environ.get("WORKER_STALE_SECONDS") or _DEFAULT_STALE_SECONDS)
        reason = sick_worker(name, stale)
    else:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
