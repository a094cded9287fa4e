"""Runs a command that the Linux kernel ends as soon as the process that started it is gone.

Started as a script by path, so that it costs an interpreter without a single package:
`python -I -S leash.py PARENT_PID COMMAND...`. It becomes the command (exec), with the same pid.
"""

import ctypes
import os
import signal
import sys

__all__ = ["leashed", "main"]

#: prctl(2): the signal to get when the parent ends; kept across exec, not inherited by fork.
PR_SET_PDEATHSIG = 1


def leashed(command: list[str]) -> list[str]:
    """The command that runs a command on the leash; elsewhere than on Linux, that one itself.

    Args:
        command: The command and its arguments.

    Returns:
        What this process may start, from its main thread: the leash is the thread's.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Takes the leash and becomes the command.

    Args:
        arguments: The starter's pid, then the command and its arguments.
    """
    parent, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Without a parent already, that signal would never come.
    if os.getppid() == int(parent):
        os.execvp(command[0], command)  # noqa: S606 - the command is given as a list


if __name__ == "__main__":
    main(sys.argv[1:])
