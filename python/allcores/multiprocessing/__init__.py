"""Processes, and what they share: the interpreter's `multiprocessing`, with its parts made anew.

The names are those of the running interpreter's module. Processes are started by a fork server unless
`set_start_method` or the environment variable `ALLCORES_START_METHOD` says otherwise.
"""

import sys

from allcores.multiprocessing import context
from allcores.multiprocessing.context import _default_context

__all__ = [name for name in dir(_default_context) if not name.startswith("_")]

# `reducer` would import half of the package: it is looked up when somebody asks.
globals().update((name, getattr(_default_context, name)) for name in __all__ if name != "reducer")

SUBDEBUG = 5
SUBWARNING = 25

# As the interpreter's module does: what is pickled in a child under this name is found in the main module.
if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def __getattr__(name):
    if name == "reducer":
        return _default_context.reducer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), "reducer"})
