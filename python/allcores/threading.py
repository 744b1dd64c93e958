"""Python's `threading`, with primitives in Rust.

Every name of the running interpreter's module is here. Lock, RLock, Condition, Semaphore, BoundedSemaphore, Event and
Barrier are ours. Thread and Timer extend the interpreter's, and have a result. What belongs to the interpreter (`local`,
the hooks for tracing and for exceptions, the list of threads) is the interpreter's own.
"""

import sys as _sys
import threading as _stock
from threading import *  # noqa: F403
from time import monotonic as _now
from types import ModuleType as _ModuleType

from allcores._allcores import BarrierBase as _BarrierBase
from allcores._allcores import ConditionBase as _ConditionBase
from allcores._allcores import EventBase as _EventBase
from allcores._allcores import Lock, RLock
from allcores._allcores import SemaphoreBase as _SemaphoreBase
from allcores._threads import Thread, Timer

__all__ = list(_stock.__all__)

_CRLock = RLock
# The hook is looked up when it is needed: see the end of the file.
del excepthook  # noqa: F821


class Condition(_ConditionBase):
    """Wait for a notification, with any lock around it (an RLock if none is given).

    With a Lock or RLock of this module all of it happens in Rust. Any other lock needs `acquire` and `release`, and may have
    `_release_save`, `_acquire_restore` and `_is_owned`, as the standard library's Condition says.
    """

    __module__ = "threading"

    def __init__(self, lock=None):
        if lock is None:
            lock = RLock()
        self._lock = lock
        self._use(lock)
        self.acquire = lock.acquire
        self.release = lock.release
        for name in ("_release_save", "_acquire_restore", "_is_owned"):
            if hasattr(lock, name):
                setattr(self, name, getattr(lock, name))

    def __repr__(self):
        return f"<Condition({self._lock}, {self._waiting})>"

    def locked(self):
        """Whether the lock is held."""
        return self._lock.locked()

    def wait_for(self, predicate, timeout=None):
        """Wait until `predicate()` is true, for `timeout` seconds at most; returns what it returned last."""
        deadline = None
        result = predicate()
        while not result:
            left = timeout
            if timeout is not None:
                if deadline is None:
                    deadline = _now() + timeout
                else:
                    left = deadline - _now()
                    if left <= 0:
                        break
            self.wait(left)
            result = predicate()
        return result

    def notifyAll(self):
        """Wake all threads that wait. Deprecated: use notify_all()."""
        _deprecated("notifyAll() is deprecated, use notify_all() instead")
        self.notify_all()

    @property
    def _waiters(self):
        return (None,) * self._waiting

    def _at_fork_reinit(self):
        self._lock._at_fork_reinit()
        self._forget_waiters()

    # What a lock that is not ours may have, and otherwise gets from here.

    def _release_save(self):
        self._lock.release()

    def _acquire_restore(self, state):
        self._lock.acquire()

    def _is_owned(self):
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def _wait_foreign(self, timeout):
        """`wait` around a lock that is not ours."""
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        ticket = self._enlist()
        heard = False
        try:
            state = self._release_save()
            try:
                self._sleep(ticket, timeout)
                heard = True
            finally:
                self._acquire_restore(state)
        finally:
            notified = self._finish(ticket, heard)
        return notified


class Semaphore(_SemaphoreBase):
    """A number of permits: `acquire` takes one and waits while there is none, `release` returns some.

    It may count to 2**31 - 1.
    """

    __module__ = "threading"

    def __init__(self, value=1):
        self._begin(value)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # As in the standard library, `with` releases by the subclass's release().
        if cls.release is not _SemaphoreBase.release and cls.__exit__ is _SemaphoreBase.__exit__:
            cls.__exit__ = _exit_by_release

    def __repr__(self):
        return f"<{_name_of(self)}: value={self._value}>"


def _exit_by_release(self, *exc_info):
    self.release()


class BoundedSemaphore(Semaphore):
    """A semaphore that is never returned more permits than it had in the beginning: that is a ValueError."""

    __module__ = "threading"

    def __init__(self, value=1):
        self._begin(value, True)

    @property
    def _initial_value(self):
        return self._max

    def __repr__(self):
        return f"<{_name_of(self)}: value={self._value}/{self._max}>"


class Event(_EventBase):
    """A flag that threads wait for.

    `set`, `clear`, `is_set` and `wait` may be called in a signal handler whatever that has interrupted.
    """

    __module__ = "threading"

    def __init__(self):
        pass

    def __repr__(self):
        return f"<{_name_of(self)}: {'set' if self.is_set() else 'unset'}>"

    def isSet(self):
        """Whether the flag is true. Deprecated: use is_set()."""
        _deprecated("isSet() is deprecated, use is_set() instead")
        return self.is_set()

    @property
    def _flag(self):
        return self.is_set()

    @property
    def _cond(self):
        # Nothing here needs one; there are programs that reach for it.
        return self.__dict__.setdefault("_cond", Condition(Lock()))


class Barrier(_BarrierBase):
    """As many threads as it has parties wait for each other.

    The last one that comes calls `action`, if there is one, and then all go on. `timeout` is what `wait` has if it is given
    none. At most 65,535 parties.
    """

    __module__ = "threading"

    def __init__(self, parties, action=None, timeout=None):
        self._begin(parties)
        self._action = action
        self._timeout = timeout

    def __repr__(self):
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{_name_of(self)}: {state}>"

    def wait(self, timeout=None):
        """Wait for the others, for `timeout` seconds at most; returns a number from 0 to parties - 1, different for each.

        BrokenBarrierError if the barrier is broken or reset meanwhile, or a thread's timeout passes: that breaks it.
        """
        if timeout is None:
            timeout = self._timeout
        action = self._action
        if not action:
            return self._arrive(timeout)
        arrival = self._arrive(timeout, True)
        if type(arrival) is int:
            return arrival
        try:
            action()
        except BaseException:
            self.abort()
            raise
        return self._complete(arrival)


def _name_of(primitive):
    kind = type(primitive)
    return f"{kind.__module__}.{kind.__qualname__} at {id(primitive):#x}"


def _deprecated(text):
    import warnings

    warnings.warn(text, DeprecationWarning, stacklevel=3)


# What is not bound here is the interpreter's, and is looked up there each time: some of it changes (`_main_thread`, the hook
# for exceptions). Setting such a name sets it there, where the interpreter finds it.


def __getattr__(name):
    try:
        return getattr(_stock, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__():
    return sorted({*globals(), *vars(_stock)})


class _Module(_ModuleType):
    def __setattr__(self, name, value):
        if name in _OF_THE_INTERPRETER:
            setattr(_stock, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name):
        if name in _OF_THE_INTERPRETER:
            delattr(_stock, name)
        else:
            super().__delattr__(name)


_OF_THE_INTERPRETER = frozenset(vars(_stock)) - frozenset(globals())
_sys.modules[__name__].__class__ = _Module
