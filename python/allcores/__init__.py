"""Python's threading and multiprocessing, built anew in Rust: nothing hangs because somebody died.

The submodules `allcores.threading`, `allcores.queue` and `allcores.multiprocessing` have the names of the interpreter's
own. `python -m allcores program.py` runs a program on them that does not know of them, `install()` does it from inside.
"""

try:
    from allcores._allcores import __version__
except ImportError:
    # Only the main interpreter can load it; another one falls back to what it has.
    from allcores._subinterpreter import fall_back

    __version__ = fall_back()

from allcores._errors import ItemsLostError, OwnerDiedError

__all__ = ["ItemsLostError", "OwnerDiedError", "__version__", "install", "multiprocessing", "queue", "threading", "uninstall"]

_SUBMODULES = frozenset({"multiprocessing", "queue", "threading"})


def install():
    """Let the names of `threading`, `queue` and `multiprocessing` mean this package's classes from now on.

    What the program has bound elsewhere before, and every live object, stays as it is and keeps working. Processes that
    are started through `multiprocessing` inherit it. Does nothing if it has been done, or in a subinterpreter.
    """
    from allcores import _install

    _install.install()


def uninstall():
    """Let every name that `install` has bound mean again what it did before. Objects that were made meanwhile stay."""
    from allcores import _install

    _install.uninstall()


def __getattr__(name):
    """Import a submodule when it is first used."""
    if name in _SUBMODULES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    """The names of the package, imported or not."""
    return sorted({*globals(), *_SUBMODULES})
