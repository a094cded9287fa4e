"""What a look at a service finds."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level"]

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `kafka_transport.operations.Finding` has the same fields."""

    #: What it is of: a setting, a server, a topic.
    subject: str
    #: A failure keeps requests from being answered; a warning may, some day.
    level: Level
    #: How it is. No secret is in it.
    what: str
    #: What to do; empty where all is well.
    remedy: str = ""
