"""The primitives that processes share: Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event, Barrier.

As the stdlib's, with three differences: a process that dies holding a lock does not take it along (see
`allcores.OwnerDiedError`), nothing has a name that could be left behind, and no lock of ours is held while Python code runs,
so that all of it may be used in signal handlers.
"""

import threading
from multiprocessing import context, process, util
from multiprocessing.synchronize import Barrier, Condition, Event

from allcores import _allcores
from allcores.multiprocessing import _arena

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "SemLock", "Semaphore"]

RECURSIVE_MUTEX, SEMAPHORE = range(2)
SEM_VALUE_MAX = 2**31 - 1
_LOCK, _OWNED_SEMAPHORE = range(2, 4)


class SemLock(_allcores.SemLock):
    """What locks and semaphores are made of."""

    SEM_VALUE_MAX = SEM_VALUE_MAX

    def __init__(self, kind, value, maxvalue, *, ctx=None):
        self._create(kind, value, maxvalue)
        util.debug("created semlock with handle %s", self.handle)

    def __getstate__(self):
        context.assert_spawning(self)
        return self._kind(), self.maxvalue, _arena.pack(self)

    def __setstate__(self, state):
        kind, maxvalue, packed = state
        _arena.rebuild(lambda data: self._open(kind, maxvalue, data), packed)
        util.debug("recreated blocker with handle %r", self.handle)


class Semaphore(SemLock):
    """A number of permits that anybody takes and anybody returns.

    With `owned=True` a permit belongs to the process that took it, and comes back when that process dies; such a semaphore
    cannot be released above its first value, nor by a process that has no permit.
    """

    def __init__(self, value=1, *, ctx=None, owned=False):
        if owned:
            SemLock.__init__(self, _OWNED_SEMAPHORE, value, value, ctx=ctx)
        else:
            SemLock.__init__(self, SEMAPHORE, value, SEM_VALUE_MAX, ctx=ctx)

    def get_value(self):
        """How many permits are left."""
        return self._get_value()

    def __repr__(self):
        return f"<{self.__class__.__name__}(value={_value(self)})>"


class BoundedSemaphore(Semaphore):
    """A semaphore that is never released above its first value."""

    def __init__(self, value=1, *, ctx=None, owned=False):
        SemLock.__init__(self, _OWNED_SEMAPHORE if owned else SEMAPHORE, value, value, ctx=ctx)

    def __repr__(self):
        return f"<{self.__class__.__name__}(value={_value(self)}, maxvalue={self.maxvalue})>"


class Lock(SemLock):
    """A lock that is not reentrant, and that any process may release.

    If its owner is killed, crashes, or ends by `os._exit`, the next one that wants it gets `allcores.OwnerDiedError`, once,
    without holding it. An owner that ends normally leaves the lock taken: programs use that as a signal.
    """

    def __init__(self, *, ctx=None):
        SemLock.__init__(self, _LOCK, 1, 1, ctx=ctx)

    def __repr__(self):
        return f"<{self.__class__.__name__}(owner={_owner(self)[0]})>"


class RLock(SemLock):
    """A lock that its thread may take again, and that this thread alone releases.

    If the thread or its process ends, in whatever way, the next one that wants the lock gets `allcores.OwnerDiedError`, once,
    without holding it.
    """

    def __init__(self, *, ctx=None):
        SemLock.__init__(self, RECURSIVE_MUTEX, 1, 1, ctx=ctx)

    def __repr__(self):
        owner, count = _owner(self)
        return f"<{self.__class__.__name__}({owner}, {count})>"


for _class in (Lock, RLock, Semaphore, BoundedSemaphore):
    _allcores.quicken(_class)
del _class


def _value(semlock):
    try:
        return semlock._get_value()
    except Exception:
        return "unknown"


def _owner(semlock):
    """Who holds it, for people, and how often."""
    try:
        if semlock._is_mine():
            name = process.current_process().name
            if threading.current_thread().name != "MainThread":
                name += "|" + threading.current_thread().name
            return name, semlock._count()
        if semlock._get_value() == 1:
            return "None", 0
        if semlock._count() > 0:
            return "SomeOtherThread", "nonzero"
        return "SomeOtherProcess", "nonzero"
    except Exception:
        return "unknown", "unknown"
