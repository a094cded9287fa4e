"""Where the console script begins; `python -m respond_async` is the same."""

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    given = sys.argv[1:]
    if given[:1] == ["probe"] and "--help" not in given:
        # Asked every few seconds of a process that may have little CPU: nothing else is imported.
        from respond_async.probe import main as probe

        sys.exit(probe(given[1:]))
    from respond_async.command.line import line

    line(prog_name="respond-async")
