"""`install()`: programs that know nothing of this package use it all the same.

The public names of the interpreter's own modules are bound to ours, on the module objects that are there, so that the
interpreter's hooks at exit and at fork keep running once. What somebody has bound elsewhere before, and every live
object, stays the interpreter's and keeps working beside ours.

A module that has not been imported yet is changed when it is. Our modules import the interpreter's; so what is watched
is the end of *our* module's import, and importing the interpreter's imports ours first.
"""

import importlib.util
import sys
from _thread import get_ident
from contextlib import contextmanager
from types import ModuleType

from allcores._alias import alias

_PACKAGE = __name__.partition(".")[0]

# The interpreter's modules that may be changed, each with its counterpart here. `threading` and `queue` are small, and
# nearly every program has them.
_AT_ONCE = ("threading", "queue")
_LAZILY = "multiprocessing"
# Ours is the interpreter's very module.
_SAME = "multiprocessing.dummy"

_MISSING = object()

# What the names were bound to: module name → name → value or _MISSING.
_saved: dict[str, dict[str, object]] = {}
_finder = None


def installed():
    """Whether `install` is in effect in this process."""
    return _finder is not None


def install():
    """As `allcores.install` says."""
    global _finder
    if _finder is not None or f"{_PACKAGE}._allcores" not in sys.modules:
        # Done already; or a subinterpreter, which has nothing of ours.
        return
    _finder = _Finder()
    sys.meta_path.insert(0, _finder)
    for name in _AT_ONCE:
        _take_over(name)
    for name in [name for name in sys.modules if _within(name, _LAZILY)]:
        if _counterpart_exists(name):
            _take_over(name)


def uninstall():
    """As `allcores.uninstall` says."""
    global _finder
    if _finder is None:
        return
    sys.meta_path.remove(_finder)
    _finder = None
    for module_name, names in _saved.items():
        module = sys.modules.get(module_name)
        if module is None:
            continue
        for name, value in names.items():
            if value is _MISSING:
                vars(module).pop(name, None)
            else:
                setattr(module, name, value)
    _saved.clear()


def install_in_child():
    """What a child process does, before it imports anything of the program, if its parent has `installed()`."""
    install()


def _within(name, package):
    return name == package or name.startswith(package + ".")


def _ours(name):
    return f"{_PACKAGE}.{name}"


def _counterpart_exists(name):
    """Whether this package has a module of its own in the place of the interpreter's module `name`."""
    if _within(name, _SAME):
        return False
    if _ours(name) in sys.modules:
        return True
    parent, _, _ = name.rpartition(".")
    if parent and not _counterpart_exists(parent):
        return False
    try:
        return importlib.util.find_spec(_ours(name)) is not None
    except ModuleNotFoundError:
        return False


def _being_imported(name):
    """Whether a module is there, but not complete: then it is the one that asks for the interpreter's."""
    module = sys.modules.get(name)
    return module is not None and getattr(module.__spec__, "_initializing", False)


def _take_over(name):
    """Imports our counterpart, and with it the interpreter's module `name`, and binds the names there."""
    ours = importlib.import_module(_ours(name))
    stock = importlib.import_module(name)
    if name not in _saved:
        _bind(stock, ours)
    return stock


def _bind(stock, ours):
    """Binds the public names of `stock` to what `ours` has under them."""
    saved = _saved.setdefault(stock.__name__, {})
    for name in _public(stock) | set(getattr(ours, "__all__", ())):
        mine = vars(ours).get(name, _MISSING)
        theirs = vars(stock).get(name, _MISSING)
        # A module stays itself: its own names are bound.
        if mine is _MISSING or mine is theirs or isinstance(mine, ModuleType) or isinstance(theirs, ModuleType):
            continue
        saved[name] = theirs
        setattr(stock, name, mine)


def _public(module):
    return {name for name in vars(module) if not name.startswith("_")}


class _Finder:
    """Sees the imports of modules that are to be changed."""

    def __init__(self):
        # (name, thread): what is being looked for by this finder itself.
        self._busy = set()

    def find_spec(self, name, path=None, target=None):
        """Ours: its loader, which binds the interpreter's names in the end. The interpreter's: what comes of ours."""
        if (name, get_ident()) in self._busy:
            return None
        if _within(name, _ours(_LAZILY)):
            return self._watched(name)
        if _within(name, _LAZILY) and not _being_imported(_ours(name)) and _counterpart_exists(name):
            with self._myself(name):
                return alias(name, _take_over(name))
        return None

    @contextmanager
    def _myself(self, name):
        key = (name, get_ident())
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def _watched(self, name):
        with self._myself(name):
            spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Watched(spec.loader)
        return spec


class _Watched:
    """The loader of one of our modules. When that is complete, the interpreter's module is changed."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        name = module.__name__.removeprefix(_PACKAGE + ".")
        if installed() and name in sys.modules and name not in _saved:
            _bind(sys.modules[name], module)
