"""The process that runs one child: passes its output on, restarts it, and lets none outlive it.

honcho forks such a runner for each child. The command's own process sends a runner two signals:
SIGTERM (end the child as gently as it can end) and SIGUSR1 (end it now).
"""

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from typing import Any

from honcho.process import Process

from respond_async.dev.leash import leashed

__all__ = ["END", "KILL", "SIGNALS", "SupervisedProcess", "next_start"]

#: Ends the child by its own SIGTERM: a worker finishes what it runs.
END = signal.SIGTERM
#: Ends the child and everything it started at once.
KILL = signal.SIGUSR1
#: What a runner handles. Blocked while it is forked, so that none hits it before it is ready.
SIGNALS = (signal.SIGINT, signal.SIGHUP, END, KILL)

#: A child that ends at once, with exit code 0, is started no more than once in this time.
RESTART_INTERVAL_SECONDS = 1.0
#: How long the last lines of an ended child are waited for.
OUTPUT_DRAIN_SECONDS = 2.0


def next_start(exit_code: int, lived_seconds: float, *, restarts: bool) -> float | None:
    """The rule of restarts: only a worker that ended well, by its lifetime, gets a successor.

    Args:
        exit_code: What the child ended with; a signal as a negative number.
        lived_seconds: How long it ran.
        restarts: Whether this child may end by itself at all.

    Returns:
        Seconds to wait before the next start, or None: its end is the end of everything.
    """
    if not restarts or exit_code != 0:
        return None
    return max(0.0, RESTART_INTERVAL_SECONDS - lived_seconds)


class SupervisedProcess(Process):  # type: ignore[misc]  # honcho has no types
    """A child of honcho's, in a session of its own, that may be restarted.

    Args:
        cmd: The command and its arguments.
        options: Honcho's: name, colour, quiet, env (the child's whole environment), cwd.
    """

    def __init__(self, cmd: list[str], **options: Any) -> None:
        super().__init__(cmd, **options)
        #: Started again when it ends with exit code 0.
        self.restarts = False
        self._ending = False

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - honcho's signature
        """Runs the child to its last end. Called in the forked runner.

        Args:
            events: The queue that takes `start`, `line` and `stop` messages.
            ignore_signals: Honcho's; the runner always handles its signals.
        """
        self._events = events
        self._handle_signals()
        threading.Thread(target=self._die_with_parent, daemon=True).start()
        exit_code = 0
        while not self._ending:
            started = time.monotonic()
            exit_code = self._run_once()
            pause = next_start(exit_code, time.monotonic() - started, restarts=self.restarts)
            if pause is None or self._ending:
                break
            self._send_message("ended by its lifetime (exit code 0): starting the next one")
            self._pause(pause)
        self._send_message({"returncode": exit_code}, type="stop")

    def _pause(self, seconds: float) -> None:
        # A sleep is not cut short by a signal, and an Event must not be set in a handler.
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._ending:
            time.sleep(0.05)

    def _run_once(self) -> int:
        # A session of its own: the terminal's Ctrl-C reaches the command's process only, which
        # then ends its children in order.
        child = subprocess.Popen(  # noqa: S603 - the command is given as a list
            leashed(self.cmd),
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._child = child
        if self._ending:
            # Asked while the child was being started, when there was none to pass the signal to.
            child.terminate()
        self._send_message({"pid": child.pid}, type="start")
        reader = threading.Thread(target=self._pass_lines_on, args=(child,), daemon=True)
        reader.start()
        exit_code = child.wait()
        # What the child left behind would hold its output open, its port taken.
        _signal_group(child.pid, signal.SIGKILL)
        # Bounded: what took a session of its own keeps the output open, and is not ours to wait for.
        reader.join(OUTPUT_DRAIN_SECONDS)
        return exit_code

    def _pass_lines_on(self, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                self._send_message(line)

    def _handle_signals(self) -> None:
        # No SIG_IGN: the child would inherit it through exec.
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGHUP, _ignore)
        signal.signal(END, self._end)
        signal.signal(KILL, self._kill)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _end(self, _number: int, _frame: Any) -> None:
        self._ending = True
        if self._child is not None:
            # The child alone: a prefork worker's own children die of a SIGTERM, with their tasks.
            self._child.terminate()

    def _kill(self, _number: int = 0, _frame: Any = None) -> None:
        self._ending = True
        if self._child is not None and self._child.returncode is None:
            _signal_group(self._child.pid, signal.SIGKILL)

    def _die_with_parent(self) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            self._kill()
            # No ordinary end: it would wait for somebody to read the queue.
            os._exit(1)


def _ignore(_number: int, _frame: Any) -> None:
    """The terminal's signals are for the command's own process."""


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        # macOS says EPERM of a group of which only zombies are left.
        return
