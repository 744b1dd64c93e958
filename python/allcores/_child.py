"""The first thing that a spawned child imports: has modules load when they are used, which most children never do.

The interpreter's `multiprocessing` imports half the standard library before a child has said its name: sockets and pickles'
Python half for `reduction`, `subprocess` for one function of `util`. Here they stand ready instead, each the very module
that it will be, and load at the first look into them.
"""

import sys
from _frozen_importlib import _DeadlockError, _get_module_lock, _ModuleLockManager, module_from_spec
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
    """Loads it, unless that is done or this thread is at it; waits for another thread that is, as an import would."""
    spec = object.__getattribute__(module, "__spec__")
    lock = _get_module_lock(spec.name)
    try:
        lock.acquire()
    except _DeadlockError:
        # Two threads load in a circle: one of them makes do with what there is, as where they import.
        return
    try:
        if object.__getattribute__(module, "__class__") is not _Later or getattr(spec, "_initializing", False):
            return
        # Whoever imports it meanwhile waits, too.
        spec._initializing = True
        try:
            spec.loader.exec_module(module)
            if spec.name in _afterwards:
                _afterwards.pop(spec.name)(module)
            # Until here the others come by the lock.
            module.__class__ = _Module
        finally:
            spec._initializing = False
    finally:
        lock.release()


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

    # Which loads it.
    return vars(subprocess)["_args_from_interpreter_flags"]()


def begin():
    """Has the modules stand ready."""
    if any(name in sys.modules for name in ("multiprocessing", "subprocess")):
        return
    package = PathFinder.find_spec("multiprocessing")
    if package is None or not package.submodule_search_locations:
        return
    _ready["subprocess"] = {"_args_from_interpreter_flags": _args_from_interpreter_flags}
    _prepare("subprocess")
    for name in ("reduction", "resource_tracker"):
        _prepare(f"multiprocessing.{name}", package.submodule_search_locations)


def attach():
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

    attach()
    spawn.spawn_main(**kwds)
