"""The primitives that processes share: Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event, Barrier.

As the stdlib's, with three differences: a process that dies holding a lock does not take it along (see
`allcores.OwnerDiedError`), nothing has a name that could be left behind, and no lock of ours is held while Python code runs,
so that all of it may be used in signal handlers.
"""

import sys
import threading
import time
from multiprocessing import context, process, util

from allcores import _allcores
from allcores.multiprocessing import _arena

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "SemLock", "Semaphore"]

RECURSIVE_MUTEX, SEMAPHORE = range(2)
SEM_VALUE_MAX = 2**31 - 1
_LOCK, _OWNED_SEMAPHORE = range(2, 4)
_MOST_OWNED = 2**16 - 1


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


class Condition(_allcores.QuickCondition):
    """A queue of processes and threads that wait for a notification, with a lock around what they wait for.

    Waiters are notified in the order in which they came. One that is killed while it waits is passed over, or hands its
    notification on. `wait` always returns with the lock held; if an owner of the lock died meanwhile, it raises
    `allcores.OwnerDiedError` then.
    """

    def __init__(self, lock=None, *, ctx=None):
        self._around(lock or (RLock() if ctx is None else ctx.RLock()), _allcores.SharedCondition())

    def _around(self, lock, waiters):
        self._lock = lock
        self._waiters = waiters
        self._bind(lock, waiters)
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __getstate__(self):
        context.assert_spawning(self)
        return self._lock, _arena.pack(self._waiters)

    def __setstate__(self, state):
        lock, packed = state
        self._around(lock, _arena.rebuild(_allcores.SharedCondition._unpack, packed))

    # `__enter__`, `__exit__`, `wait` and `notify` are QuickCondition's; these are for locks that are not of our own classes.
    def _enter_slowly(self):
        return self._lock.__enter__()

    def _exit_slowly(self, *exc_info):
        return self._lock.__exit__(*exc_info)

    def __repr__(self):
        return f"<{self.__class__.__name__}({self._lock}, {self._waiters.waiting()})>"

    def locked(self):
        """Whether anybody holds the lock."""
        return self._lock.locked()

    def _wait_slowly(self, timeout):
        if isinstance(self._lock, _allcores.SemLock):
            return self._waiters.wait(self._lock, timeout)
        return self._wait_around(_Around(self._lock), timeout)

    def _wait_around(self, lock, timeout):
        """The same for a lock that is not ours."""
        assert lock.is_held(), "must acquire() condition before using wait()"
        ticket = self._waiters.enlist()
        try:
            state = lock.release()
            try:
                self._waiters.sleep(ticket, timeout)
            finally:
                lock.restore(state)
        except BaseException:
            self._waiters.abandon(ticket)
            raise
        return self._waiters.finish(ticket)

    def wait_for(self, predicate, timeout=None):
        """Wait until `predicate()` is true, for `timeout` seconds at most; its last value."""
        result = predicate()
        if result:
            return result
        end = None if timeout is None else time.monotonic() + timeout
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def _notify_slowly(self, n=1):
        if isinstance(self._lock, _allcores.SemLock):
            self._waiters.notify(self._lock, n)
        else:
            assert _Around(self._lock).is_held(), "lock is not owned"
            self._waiters.wake(n)

    def notify_all(self):
        """Notify all who wait. The lock must be held."""
        self.notify(sys.maxsize)

    # What the standard library counts with semaphores, for those who look at them.
    @property
    def _sleeping_count(self):
        return _Counter(self._waiters.waiting())

    @property
    def _woken_count(self):
        return _Counter(0)

    @property
    def _wait_semaphore(self):
        return _Counter(0)


class _Counter(int):
    """A number that can be asked for as a semaphore's."""

    def get_value(self):
        return int(self)


class _Around:
    """How a lock that is not ours is released and taken again, however often it is held."""

    def __init__(self, lock):
        self._lock = lock
        self._semlock = getattr(lock, "_semlock", None)

    def is_held(self):
        if self._semlock is not None:
            return self._semlock._is_mine()
        if hasattr(self._lock, "_is_owned"):
            return self._lock._is_owned()
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def release(self):
        if self._semlock is None and hasattr(self._lock, "_release_save"):
            return self._lock._release_save()
        count = 1 if self._semlock is None else self._semlock._count()
        for _ in range(count):
            self._lock.release()
        return count

    def restore(self, state):
        if self._semlock is None and hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(state)
        else:
            for _ in range(state):
                self._lock.acquire()


class Event(_allcores.SharedEvent):
    """A flag that processes wait for: one word, which nobody owns, so that nobody can die holding it.

    Every method may be called in a signal handler, whatever it has interrupted.
    """

    def __init__(self, *, ctx=None):
        self._create()

    def __getstate__(self):
        context.assert_spawning(self)
        return _arena.pack(self)

    def __setstate__(self, state):
        _arena.rebuild(self._open, state)

    def __repr__(self):
        status = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {status}>"


class Barrier(threading.Barrier):
    """As many parties as it was made for wait for each other, again and again.

    The last one that comes calls its `action`, if it has one, and then all go on. `timeout` is what `wait` has if it is given
    none. A party that is killed while it waits breaks the barrier for all others at once.
    """

    def __init__(self, parties, action=None, timeout=None, *, ctx=None):
        self._parties_wait = _allcores.SharedBarrier(parties)
        self._action = action
        self._timeout = timeout

    def __getstate__(self):
        context.assert_spawning(self)
        return _arena.pack(self._parties_wait), self._action, self._timeout

    def __setstate__(self, state):
        packed, self._action, self._timeout = state
        self._parties_wait = _arena.rebuild(_allcores.SharedBarrier._unpack, packed)

    def __repr__(self):
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{name} at {id(self):#x}: {state}>"

    def wait(self, timeout=None):
        """Wait for the others, for `timeout` seconds at most; a number from 0 to parties - 1, different for each.

        BrokenBarrierError if the barrier is broken or reset meanwhile, or a party dies, or its timeout passes.
        """
        if timeout is None:
            timeout = self._timeout
        arrival = self._parties_wait.wait(timeout, self._action is not None)
        if type(arrival) is int:
            return arrival
        try:
            self._action()
        except BaseException:
            self._parties_wait.abort()
            raise
        return self._parties_wait.complete(arrival)

    def reset(self):
        """Make the barrier whole and empty. Those who wait get BrokenBarrierError."""
        self._parties_wait.reset()

    def abort(self):
        """Break the barrier: all who wait, and all who come, get BrokenBarrierError until reset() is called."""
        self._parties_wait.abort()

    @property
    def parties(self):
        """How many must come."""
        return self._parties_wait.parties

    @property
    def n_waiting(self):
        """How many wait now: none in a broken barrier."""
        return self._parties_wait.n_waiting

    @property
    def broken(self):
        """Whether it is broken."""
        return self._parties_wait.broken


for _class in (Lock, RLock, Semaphore, BoundedSemaphore, Event, Condition):
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
