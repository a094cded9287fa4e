from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from respond_async import AppStartError, Settings
from respond_async.replay_thread import ReplayThread


def test_whoever_waits_for_an_app_that_cannot_start_is_told_so() -> None:
    """Told anything else, the task would store a failure instead of going back to the queue."""
    nothing: Any = None
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            thread = ReplayThread("no_such_module:app", Settings())
            for waiting in [threads.submit(thread.replay, nothing, b"") for _ in range(8)]:
                with pytest.raises(AppStartError):
                    waiting.result(10)
