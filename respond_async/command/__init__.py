"""`respond-async`: one command line for who develops with it, asks it and runs it.

`entry` is what the console script starts, `line` the commands, each in a module of its name.
"""

__all__: list[str] = []
