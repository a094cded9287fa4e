"""The processes of the service as one thing: started, watched, and ended together."""

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from honcho.manager import Manager
from honcho.printer import Message, Printer

from respond_async.dev.errors import ChildEndedError
from respond_async.dev.supervise import END, KILL, SIGNALS, SupervisedProcess

__all__ = ["Service", "StopAsked"]

#: What asks the service to stop.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How long the children may take to end by themselves before they are killed.
GRACE_SECONDS = 10.0
#: Two signals closer than this are one: `make`, `timeout` and the terminal each pass one on.
SAME_SIGNAL_SECONDS = 0.1
#: How often the loop looks at signals and conditions when no child prints anything.
TICK_SECONDS = 0.1
#: Lines that are printed before the loop looks at them again: no flood keeps Ctrl-C away.
MOST_AT_ONCE = 1000
#: How often one is told what is still waited for.
REMINDER_SECONDS = 20.0


class StopAsked(Exception):
    """The user asked to stop."""


class Service(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's Manager, started in stages and watched from one loop.

    honcho's own `loop` starts everything at once and ends all that is left, servers and clients
    together; here servers come first and go last, so that a worker can still hand back what it
    holds. Everything below runs in the main thread, so each child is forked from a process
    without threads. Leaving the context ends every child.

    Args:
        printer: Where the children's lines go.
    """

    def __init__(self, printer: Printer) -> None:
        super().__init__(printer)
        # Python 3.14 no longer forks unless told so; a runner is no more than a fork.
        self._context = multiprocessing.get_context("fork")
        # Bounded: a child that prints faster than we can is slowed down, not kept in memory.
        self.events = self._context.Queue(MOST_AT_ONCE)
        self._process_ctor = SupervisedProcess
        self._servers: set[str] = set()
        self._asked = False
        self._interrupts = 0
        self._asked_at = -SAME_SIGNAL_SECONDS

    def start(
        self,
        name: str,
        command: list[str],
        env: Mapping[str, str],
        *,
        restarts: bool = False,
        server: bool = False,
    ) -> None:
        """Starts one child at once.

        Args:
            name: What its lines are prefixed with.
            command: The command and its arguments.
            env: Its whole environment.
            restarts: Start it again whenever it ends with exit code 0.
            server: It ends after all that are none.
        """
        child = self.add_process(name, command, env=dict(env))
        child.restarts = restarts
        if server:
            self._servers.add(name)
        runner = self._context.Process(name=name, target=child.run, args=(self.events,))
        # Until the runner has its handlers, a signal would end it and leave its child alone.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            runner.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._processes[name]["process"] = runner

    def wait(self, condition: Callable[[], str | None] | None = None) -> None:
        """Prints what the children say until the condition is met.

        Args:
            condition: Says what it still waits for, or None once it is met; it is asked some
                times a second. Without one this lasts until something ends.

        Raises:
            StopAsked: On Ctrl-C, SIGTERM or SIGHUP.
            ChildEndedError: A child ended by itself.
        """
        reminder = time.monotonic() + REMINDER_SECONDS
        while True:
            self._take_events(TICK_SECONDS)
            if self._asked:
                raise StopAsked
            self._look_for_the_dead()
            if condition is None:
                continue
            missing = condition()
            if missing is None:
                return
            if time.monotonic() > reminder:
                reminder += REMINDER_SECONDS
                self.say(f"still waiting for {missing}")

    def say(self, text: str) -> None:
        """Prints lines of the command's own, prefixed as the children's are."""
        self._system_print(text)

    def show(self, text: str) -> None:
        """Prints text as it is, such as a banner to copy from."""
        print(text, file=self._printer.output, flush=True)

    def __enter__(self) -> Self:
        for number in STOPPING:
            signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._running():
            self._write_quietly("stopping; Ctrl-C once more hurries")
        servers = self._servers
        self._end([name for name in self._processes if name not in servers])
        self._end([name for name in self._processes if name in servers])
        # One more Ctrl-C now would meet an interpreter that is shutting down, and end it by signal.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        # Only a note: printing here could meet a print that it interrupted.
        self._asked = True
        now = time.monotonic()
        if number == signal.SIGINT and now - self._asked_at > SAME_SIGNAL_SECONDS:
            self._interrupts += 1
        self._asked_at = now

    def _end(self, names: list[str]) -> None:
        interrupts = self._interrupts
        deadline = time.monotonic() + GRACE_SECONDS
        self._signal(names, END)
        killed = False
        while running := self._running(names):
            self._take_events(TICK_SECONDS, quietly=True)
            hurried = self._interrupts > interrupts
            if not killed and (hurried or time.monotonic() > deadline):
                killed = True
                why = "hurried" if hurried else f"not ended within {GRACE_SECONDS:g} s"
                self._write_quietly(f"killing {', '.join(running)} ({why})")
                self._signal(running, KILL)
        for name in names:
            runner = self._processes[name].get("process")
            if runner is not None:
                runner.join()

    def _running(self, names: list[str] | None = None) -> list[str]:
        chosen = self._processes if names is None else names
        return [
            name
            for name in chosen
            if "process" in self._processes[name] and "returncode" not in self._processes[name]
        ]

    def _signal(self, names: list[str], number: signal.Signals) -> None:
        for name in self._running(names):
            runner = self._processes[name]["process"]
            if runner.is_alive():
                os.kill(runner.pid, number)

    def _take_events(self, timeout: float, *, quietly: bool = False) -> None:
        """Handles all that has come in; waits for the first no longer than `timeout` seconds."""
        # Looked at first: who is gone now has put its last message into the queue already.
        gone = [name for name in self._running() if not self._processes[name]["process"].is_alive()]
        for _ in range(MOST_AT_ONCE):
            try:
                message = self.events.get(timeout=timeout)
            except queue.Empty:
                break
            timeout = 0
            try:
                self._handle(message)
            except OSError:
                # The reader of our output has gone: no reason to leave a child behind.
                if not quietly:
                    raise
        else:
            return
        for name in self._running(gone):
            # A runner that was killed could not say so.
            self._processes[name]["returncode"] = -signal.SIGKILL

    def _handle(self, message: Message) -> None:
        state: dict[str, Any] = self._processes[message.name]
        if message.type == "line":
            self._printer.write(message)
        elif message.type == "start":
            state["pid"] = message.data["pid"]
            self.say(f"{message.name} started (pid {state['pid']})")
        elif message.type == "stop":
            state["returncode"] = message.data["returncode"]
            self.say(f"{message.name} ended ({_said(state['returncode'])})")

    def _look_for_the_dead(self) -> None:
        for name, state in self._processes.items():
            if "returncode" in state:
                code = state["returncode"]
                raise ChildEndedError(
                    f"{name} ended by itself ({_said(code)}): its last lines above say why",
                    exit_code=code if code > 0 else 1,
                )

    def _write_quietly(self, text: str) -> None:
        try:
            self.say(text)
        except OSError:
            return


def _said(returncode: int) -> str:
    if returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"
