"""In a subinterpreter the extension module cannot be loaded: there the package's modules are the interpreter's own."""

import importlib
import sys
from importlib.machinery import ModuleSpec

from allcores._alias import alias


def here():
    """Whether this is a subinterpreter."""
    try:
        import _interpreters as interpreters
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            return False
    # 3.13 adds to the id who made it.
    return _id(interpreters.get_current()) != _id(interpreters.get_main())


def _id(found):
    return int(found[0] if isinstance(found, tuple) else found)


def fall_back():
    """Let `allcores.threading`, `allcores.queue` and `allcores.multiprocessing.*` be the interpreter's own modules."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the interpreter's module under our name."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        """The stock module of that name, for the submodules that have one."""
        package, _, rest = name.partition(".")
        if package != "allcores" or rest.partition(".")[0] not in ("threading", "queue", "multiprocessing"):
            return None
        return alias(name, importlib.import_module(rest))


def _version():
    from importlib import metadata

    try:
        return metadata.version("allcores")
    except metadata.PackageNotFoundError:
        return "unknown"


def __getattr__(name):
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
