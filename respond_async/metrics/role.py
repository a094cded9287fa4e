"""Whether this process serves an app or replays requests: a worker runs the app too."""

__all__ = ["be_worker", "is_worker"]

_worker = False


def be_worker() -> None:
    """From now on this process, and what is forked from it, shows a worker's metrics."""
    global _worker  # noqa: PLW0603
    _worker = True


def is_worker() -> bool:
    """Whether `be_worker` was called."""
    return _worker
