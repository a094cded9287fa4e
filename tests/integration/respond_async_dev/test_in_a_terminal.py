"""As a person has it: in a terminal, with colours, ended by the key and not by a signal's number."""

import os
import pty
import re
import subprocess
import threading
from pathlib import Path

from tests.support.dev_command import BANNER_END, DevCommand
from tests.support.waiting import wait_until

#: The command with that terminal as its controlling one: the one whose Ctrl-C reaches it.
IN_TERMINAL = """\
import os, runpy
os.login_tty({descriptor})
runpy.run_module("respond_async.dev", run_name="__main__", alter_sys=True)
"""


class Terminal:
    """A terminal that reads all that is written to it and can have keys pressed."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self._read = bytearray()
        self._reader = threading.Thread(target=self._take, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return self._read.decode(errors="replace").replace("\r\n", "\n")

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def _take(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._read += data
        except OSError:
            return  # nobody has the terminal open any more

    def close(self) -> None:
        self._reader.join(5)
        os.close(self._ours)


def test_each_process_has_a_colour_and_the_key_ends_all(
    project: Path, arguments: list[str], tmp_path: Path
) -> None:
    terminal = Terminal()
    program = ["-c", IN_TERMINAL.format(descriptor=terminal.theirs)]
    command = DevCommand(tmp_path, arguments, cwd=project, program=program)
    process = subprocess.Popen(
        command.command,
        cwd=command.cwd,
        env={name: value for name, value in command.env.items() if name != "NO_COLOR"},
        pass_fds=[terminal.theirs],
    )
    os.close(terminal.theirs)
    try:
        wait_until(lambda: BANNER_END in terminal.text, within=60, what="the banner")
        prefix = r"\x1b\[(\d+)m\d\d:\d\d:\d\d (\w+) +\| \x1b\[0m"
        colours = {name: colour for colour, name in re.findall(prefix, terminal.text)}
        assert {"redis", "kafka", "worker", "app", "flower"} <= colours.keys()
        assert len(set(colours.values())) == len(colours)
        terminal.press(b"\x03")
        assert process.wait(30) == 0
        assert "stopping" in terminal.text
        assert "Traceback" not in terminal.text
        command.assert_nothing_survives()
    finally:
        process.kill()
        process.wait()
        terminal.close()
