"""What can keep the command from running; each docstring is the kind of line a user reads.

DevError
├── OptionError
├── PortInUseError
├── DependencyMissingError
├── ServerUnreachableError
└── ChildEndedError
"""

__all__ = [
    "ChildEndedError",
    "DependencyMissingError",
    "DevError",
    "OptionError",
    "PortInUseError",
    "ServerUnreachableError",
]


class DevError(Exception):
    """The command cannot go on; the message is one line that says what to do.

    Attributes:
        exit_code: What the command then exits with.
    """

    exit_code = 1


class OptionError(DevError):
    """An option or environment variable has a value that makes no sense: correct it."""

    exit_code = 2


class PortInUseError(DevError):
    """Somebody listens on a port that the service needs: end that, or choose another port."""


class DependencyMissingError(DevError):
    """A package of the `dev` extra is not installed: `pip install respond-async[dev]`."""


class ServerUnreachableError(DevError):
    """A given server does not answer: start it, or unset its variable to get the embedded one."""


class ChildEndedError(DevError):
    """One of the processes ended by itself; its own last lines say why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
