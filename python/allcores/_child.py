"""The first thing that a spawned child imports: has modules load when they are used, which most children never do.

The interpreter's `multiprocessing` imports half the standard library before a child has said its name: sockets and pickles'
Python half for `reduction`, `subprocess` for one function of `util`, `enum` for the numbers of signals, `collections` for
one class of `functools`. Here they stand ready instead, each the very module that it will be, and load at the first look
into them.
"""

import _functools
import _signal
import sys
from _frozen_importlib import _DeadlockError, _ModuleLockManager, module_from_spec
from _frozen_importlib_external import PathFinder

#: What the import system looks at in a module that it finds.
_QUIET = frozenset({"__spec__", "__class__", "__name__", "__path__", "__loader__", "__package__"})
#: Names that can be had without loading, and what is to be done once a module has loaded.
_ready: dict[str, dict] = {}
_afterwards: dict[str, object] = {}
_later = []

_Module = type(sys)


class _Later(_Module):
    """A module that loads when something is looked for in it."""

    def __getattribute__(self, name):
        if name not in _QUIET:
            ready = _ready.get(object.__getattribute__(self, "__name__"), ())
            if name in ready and object.__getattribute__(self, "__class__") is _Later:
                return ready[name]
            _load(self)
        return _Module.__getattribute__(self, name)

    def __setattr__(self, name, value):
        if name not in _QUIET:
            _load(self)
        _Module.__setattr__(self, name, value)


def _load(module):
    """Loads it, unless it is or this thread is loading it; waits for another thread that does, as an import would."""
    spec = object.__getattribute__(module, "__spec__")
    try:
        with _ModuleLockManager(spec.name):
            if object.__getattribute__(module, "__class__") is not _Later or getattr(spec, "_initializing", False):
                return
            # Whoever imports it meanwhile waits, too.
            spec._initializing = True
            try:
                spec.loader.exec_module(module)
            finally:
                spec._initializing = False
            module.__class__ = _Module
    except _DeadlockError:
        # Two threads import in a circle: one of them sees what there is.
        return
    if spec.name in _afterwards:
        _afterwards.pop(spec.name)(module)


def _prepare(name, path=None):
    if name in sys.modules:
        return
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    module.__class__ = _Later
    sys.modules[name] = module
    _later.append(module)


def _args_from_interpreter_flags():
    """What `multiprocessing.util` takes from `subprocess` when it is imported."""
    import subprocess

    subprocess.Popen  # noqa: B018  loads it
    return subprocess._args_from_interpreter_flags()


def begin():
    """Has the modules stand ready."""
    if any(name in sys.modules for name in ("multiprocessing", "subprocess")):
        return
    package = PathFinder.find_spec("multiprocessing")
    if package is None or not package.submodule_search_locations:
        return
    _ready["subprocess"] = {"_args_from_interpreter_flags": _args_from_interpreter_flags}
    # What `_pickle` takes of it, which is the very class that it will have.
    _ready["functools"] = {"partial": _functools.partial}
    for name in ("subprocess", "functools", "signal"):
        _prepare(name)
    for name in ("reduction", "resource_tracker"):
        _prepare(f"multiprocessing.{name}", package.submodule_search_locations)
    # It goes through the signals for their names and numbers: nobody else is to take these for all that `signal` has.
    _ready["signal"] = {"__dict__": vars(_signal)}
    try:
        import multiprocessing.process  # noqa: F401
    finally:
        del _ready["signal"]
    _attach()


def _attach():
    """Makes the modules known to their packages, which have been imported meanwhile."""
    for module in _later:
        package, _, name = object.__getattribute__(module, "__name__").rpartition(".")
        if package in sys.modules:
            setattr(sys.modules[package], name, module)


def when_loaded(name, do):
    """Calls `do(module)`: now, or when the module loads."""
    module = sys.modules.get(name)
    with _ModuleLockManager(name):
        if module is not None and object.__getattribute__(module, "__class__") is _Later:
            _afterwards[name] = do
            return
    import importlib

    do(importlib.import_module(name))


def load_all():
    """Loads what has not been: for whoever goes through the modules."""
    for module in _later:
        _load(module)


def spawn_main(**kwds):
    """Is a spawned child."""
    begin()
    from allcores.multiprocessing import spawn

    spawn.spawn_main(**kwds)
