"""Asks until a worker answers, then ends with exit code 0.

Run as a script, in a process of its own, because it imports the user's Celery application:
`python -P ping.py CELERY_APP`. A worker announces itself before it takes tasks and commands; only
an answer to `ping` shows that both work.
"""

import os
import sys

from celery.app.utils import find_app

__all__ = ["main"]

#: How long one ping waits for an answer: one that was sent too early is never answered.
ANSWER_SECONDS = 1.0


def main(arguments: list[str]) -> None:
    """Pings by broadcast; the first answer is enough.

    Args:
        arguments: The Celery application, as `celery -A` takes it.
    """
    # As `celery -A` does: the project is where one stands.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the module path holds strings
    control = find_app(arguments[0]).control
    while not control.broadcast("ping", reply=True, timeout=ANSWER_SECONDS, limit=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
