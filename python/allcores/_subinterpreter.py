"""In a subinterpreter the extension module cannot be loaded: there the package's modules are the interpreter's own."""

import importlib
import os
import sys

from allcores._alias import alias

_MODULES = ("threading", "queue", "multiprocessing")


def fall_back():
    """Let `allcores.threading`, `allcores.queue` and `allcores.multiprocessing.*` be the interpreter's own modules.

    Called where the extension module could not be loaded. Raises that error again if this is the main interpreter, which
    should have; returns the version of the package.
    """
    if not _here():
        raise  # noqa: PLE0704
    sys.meta_path.insert(0, _Finder())
    return _version()


def _here():
    """Whether this is a subinterpreter."""
    try:
        import _interpreters as interpreters
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            return False
    return _id(interpreters.get_current()) != _id(interpreters.get_main())


def _id(found):
    # 3.13 adds to the id who made it.
    return int(found[0] if isinstance(found, tuple) else found)


class _Finder:
    """Finds the interpreter's module under our name."""

    def find_spec(self, name, path=None, target=None):
        """The stock module of that name, for the submodules that have one."""
        package, _, rest = name.partition(".")
        if package != "allcores" or rest.partition(".")[0] not in _MODULES:
            return None
        return alias(name, importlib.import_module(rest))


def _version():
    """The version that the installed package's folder of metadata names.

    Not by `importlib.metadata`: that imports `datetime`, and CPython 3.12 crashes when a subinterpreter imports it after an
    isolated one, which was refused its C part.
    """
    for folder in map(str, sys.path):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith("allcores-") and name.endswith(".dist-info"):
                return name.removeprefix("allcores-").removesuffix(".dist-info")
    return "unknown"
