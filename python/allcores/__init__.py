"""Python's threading and multiprocessing, built anew in Rust: nothing hangs because somebody died.

The submodules `allcores.threading`, `allcores.queue` and `allcores.multiprocessing` have the names of the interpreter's
own. `python -m allcores program.py` runs a program on them that does not know of them, `install()` does it from inside.
"""

from allcores import _subinterpreter

if _subinterpreter.here():
    # The extension module can only be loaded by the main interpreter.
    from allcores._subinterpreter import __version__

    _subinterpreter.fall_back()
else:
    from allcores._allcores import __version__

from allcores._errors import ItemsLostError, OwnerDiedError
from allcores._install import install, uninstall

__all__ = ["ItemsLostError", "OwnerDiedError", "__version__", "install", "multiprocessing", "queue", "threading", "uninstall"]

_SUBMODULES = frozenset({"multiprocessing", "queue", "threading"})


def __getattr__(name):
    """Import a submodule when it is first used."""
    if name in _SUBMODULES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    """The names of the package, imported or not."""
    return sorted({*globals(), *_SUBMODULES})
