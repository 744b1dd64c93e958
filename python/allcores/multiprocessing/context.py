"""Contexts: what a start method makes of processes and of everything that they share.

They extend the interpreter's, and so do their processes: whoever checks with `isinstance` finds what he expects.
"""

import os
import sys
from multiprocessing import context as _stock
from multiprocessing.context import (
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
    _tls as _tls,
    assert_spawning as assert_spawning,
    get_spawning_popen as get_spawning_popen,
    set_spawning_popen as set_spawning_popen,
)
from multiprocessing import process as process

from allcores.multiprocessing._process import SharedMethods

__all__ = ()

METHODS = ("fork", "spawn", "forkserver")


class BaseContext(_stock.BaseContext):
    """What every start method offers: processes, and what they share, made by this package."""

    def Manager(self):
        """A manager, with its server process running."""
        from .managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex=True):
        """Two Connections, each with what is sent through the other."""
        from .connection import Pipe

        return Pipe(duplex)

    def Lock(self):
        """A lock that anybody may release."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self):
        """A lock that its owner may take again."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock=None):
        """A condition variable."""
        from .synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value=1):
        """A semaphore."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value=1):
        """A semaphore that never holds more than it began with."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self):
        """An event."""
        from .synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(self, parties, action=None, timeout=None):
        """A barrier for so many processes or threads."""
        from .synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize=0):
        """A queue."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize=0):
        """A queue that counts what is not done yet."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self):
        """A queue without limit, timeouts and counts."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        """A pool of processes."""
        from .pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    def RawValue(self, typecode_or_type, *args):
        """A ctypes object in shared memory."""
        from .sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type, size_or_initializer):
        """A ctypes array in shared memory."""
        from .sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type, *args, lock=True):
        """A ctypes object in shared memory, with a lock."""
        from .sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type, size_or_initializer, *, lock=True):
        """A ctypes array in shared memory, with a lock."""
        from .sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def freeze_support(self):
        """Nothing, except in a frozen program that was started as a child."""
        if getattr(sys, "frozen", False):
            from .spawn import freeze_support

            freeze_support()

    def set_executable(self, executable):
        """The interpreter that runs the children of spawn and the fork server."""
        from .spawn import set_executable

        set_executable(executable)

    def set_forkserver_preload(self, module_names, **options):
        """The modules that the fork server imports before it forks; `"__main__"`, which is there by default, too."""
        from .forkserver import set_forkserver_preload

        set_forkserver_preload(module_names, **options)

    def allow_connection_pickling(self):
        """Makes Connections and sockets picklable."""
        from . import connection  # noqa: F401

    def get_context(self, method=None):
        """The context of a start method; without one, this."""
        if method is None:
            return self
        try:
            context = _concrete_contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None
        context._check_available()
        return context

    @property
    def reducer(self):
        """The module by which objects are reduced to what travels to other processes."""
        global _reduction
        if _reduction is None:
            from . import reduction as _reduction
        return _reduction

    @reducer.setter
    def reducer(self, reduction):
        global _reduction
        _reduction = reduction


# Imported when it is asked for: whoever is only started needs none of it.
_reduction = None


def __getattr__(name):
    if name == "reduction":
        return _default_context.reducer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Process(SharedMethods, _stock.Process):
    """A process of the default context."""

    _start_method = None

    @staticmethod
    def _Popen(process_obj):
        context = _default_context.get_context()
        if _default_context._chosen:
            return context.Process._Popen(process_obj)
        from . import _travel

        with _travel.explained(context):
            return context.Process._Popen(process_obj)

    @staticmethod
    def _after_fork():
        return _default_context.get_context().Process._after_fork()


class ForkProcess(SharedMethods, _stock.ForkProcess):
    """A process that begins as a copy of its parent."""

    @staticmethod
    def _Popen(process_obj):
        from .popen_fork import Popen

        # Without looking for it from now on.
        ForkProcess._Popen = Popen
        return Popen(process_obj)


class SpawnProcess(SharedMethods, _stock.SpawnProcess):
    """A process that begins as a new interpreter."""

    @staticmethod
    def _Popen(process_obj):
        from .popen_spawn_posix import Popen

        # Without looking for it from now on.
        SpawnProcess._Popen = Popen
        return Popen(process_obj)


class ForkServerProcess(SharedMethods, _stock.ForkServerProcess):
    """A process that begins as a copy of the fork server."""

    @staticmethod
    def _Popen(process_obj):
        from .popen_forkserver import Popen

        # Without looking for it from now on.
        ForkServerProcess._Popen = Popen
        return Popen(process_obj)


class ForkContext(BaseContext, _stock.ForkContext):
    """Processes are copies of their parent."""

    Process = ForkProcess


class SpawnContext(BaseContext, _stock.SpawnContext):
    """Processes are new interpreters."""

    Process = SpawnProcess


class ForkServerContext(BaseContext, _stock.ForkServerContext):
    """Processes are copies of a server that has imported `__main__`, and nothing that the program made since."""

    Process = ForkServerProcess

    def _check_available(self):
        pass


class DefaultContext(BaseContext, _stock.DefaultContext):
    """The context of the module's own functions: one of the others, which is settled when it is first used."""

    Process = Process

    def __init__(self, context=None):
        self._given_default = context
        self._actual_context = None
        # Whether the program, or whoever runs it, has named the start method.
        self._chosen = False

    @property
    def _default_context(self):
        return self._given_default or _concrete_contexts[self._default_method()[0]]

    def _default_method(self):
        """The default start method, and whether somebody named it."""
        named = os.environ.get("ALLCORES_START_METHOD")
        if named:
            if named not in METHODS:
                raise ValueError(
                    f"ALLCORES_START_METHOD is {named!r}, which is no start method: "
                    f"it must be one of {', '.join(METHODS)}, or not be set"
                )
            return named, True
        # Not imported means not installed: and then it need not be imported now.
        install = sys.modules.get("allcores._install")
        if install is not None and install.installed():
            # A program that knows nothing of us gets what it would get without us, or has set before.
            default = _stock._default_context
            return (default._actual_context or default._default_context)._name, True
        return "forkserver", False

    def get_context(self, method=None):
        """The context of a start method; without one, that of the start method that is set."""
        if method is not None:
            return super().get_context(method)
        if self._actual_context is None:
            self._actual_context = self._default_context
            self._chosen = self._given_default is not None or self._default_method()[1]
        return self._actual_context

    def set_start_method(self, method, force=False):
        """Sets the start method, once."""
        if self._actual_context is not None and not force:
            raise RuntimeError("context has already been set")
        if method is None and force:
            self._actual_context = None
            return
        self._actual_context = self.get_context(method)
        self._chosen = True

    def get_start_method(self, allow_none=False):
        """The start method; settles it, unless `allow_none` is true."""
        if self._actual_context is None and allow_none:
            return None
        return self.get_context()._name

    def get_all_start_methods(self):
        """The start methods there are, the default first."""
        default = self._default_context._name
        return [default, *(method for method in METHODS if method != default)]



class _Contexts(dict):
    """Contexts by start method: ours, and what others have added to the interpreter's, as loky does."""

    def __missing__(self, method):
        return _stock._concrete_contexts[method]


_concrete_contexts = _Contexts(
    fork=ForkContext(),
    spawn=SpawnContext(),
    forkserver=ForkServerContext(),
)
_default_context = DefaultContext()


def _force_start_method(method):
    _default_context._actual_context = _concrete_contexts[method]
    _default_context._chosen = True
