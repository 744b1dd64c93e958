"""Thread and Timer: the interpreter's, with a result, and with an event of ours for the moment in which the thread runs.

`start` waits for the new thread to announce itself, as the interpreter's does. By the interpreter's Event that takes as long as
all the rest.
"""

import copy
import sys
import threading as _stock
from abc import ABCMeta

from allcores._allcores import EventBase
from allcores._errors import OwnerDiedError

_StockThread = _stock.Thread
_StockTimer = _stock.Timer
# What the interpreter's Thread does when it is made and when it runs is known of these versions.
_KNOWN = sys.version_info < (3, 14)
_HAS_HANDLES = sys.version_info >= (3, 13)
# So many locks of threads are looked through, before 3.13, for those that belong to none any more.
_MANY_LOCKS = 32


class _Kind(ABCMeta):
    """Whatever is a thread for the interpreter is one for us: the main thread, threads of others, earlier ones.

    It extends ABCMeta so that a class may be both a Thread and an abstract base class.
    """

    def __instancecheck__(cls, instance):
        return isinstance(instance, _OF_ALL.get(cls) or ()) or super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _OF_ALL.get(cls) or ()) or super().__subclasscheck__(subclass)


class Thread(_StockThread, metaclass=_Kind):
    """A thread: `start` runs `run()` in it, which calls `target(*args, **kwargs)`; `result` has what that returned.

    It is the interpreter's Thread, and may be used wherever that may; any thread of the interpreter's counts as an instance.
    """

    __module__ = "threading"

    # What run() returned and what it raised, once it has ended.
    _outcome = None

    if _KNOWN:

        def __init__(self, group=None, target=None, name=None, args=(), kwargs=None, *, daemon=None):
            # As the interpreter's, but for the event.
            assert group is None, "group argument must be None for now"
            if name:
                name = str(name)
            else:
                name = f"Thread-{_stock._counter()}"
                if target is not None:
                    try:
                        name += f" ({target.__name__})"
                    except AttributeError:
                        pass
            self._target = target
            self._name = name
            self._args = args
            self._kwargs = {} if kwargs is None else kwargs
            if daemon is None:
                self._daemonic = _stock.current_thread().daemon
            else:
                if daemon and not _daemon_threads_allowed():
                    raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
                self._daemonic = daemon
            self._ident = None
            self._native_id = None
            if _HAS_HANDLES:
                self._handle = _stock._ThreadHandle()
            else:
                self._tstate_lock = None
                self._is_stopped = False
            self._started = EventBase()
            self._initialized = True
            self._stderr = sys.stderr
            if _stock.excepthook is _stock.__excepthook__ and sys.excepthook is sys.__excepthook__:
                # What is made of those for one thread does for all.
                self._invoke_excepthook = _of_original_hooks or _made_of_original_hooks()
            else:
                self._invoke_excepthook = _stock._make_invoke_excepthook()
            _stock._dangling.add(self)

    def run(self):
        """What the thread does; a subclass may override it. What it returns is the result."""
        try:
            if self._target is not None:
                return self._target(*self._args, **self._kwargs)
        finally:
            # As in the interpreter's: the thread does not keep its arguments.
            del self._target, self._args, self._kwargs

    def result(self, timeout=None):
        """Wait for the thread's end, and return what `run()` returned, or raise what it raised.

        What is raised is a copy that holds no frames. TimeoutError if the thread does not end in `timeout` seconds;
        RuntimeError where `join` raises that; OwnerDiedError if the thread vanished because the process was forked.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise _without_frames(error)
            finally:
                # The traceback leads here.
                del error
        return self._outcome[0]

    def exception(self, timeout=None):
        """Wait for the thread's end, and return what `run()` raised: None if it returned.

        `threading.excepthook` has been told of it all the same. The exception holds no frames. Raises what `result` raises
        for other reasons.
        """
        self.join(timeout)
        if self._outcome is None:
            if self.is_alive():
                raise TimeoutError(f"thread {self.name} has not ended in {timeout} seconds")
            # It may have ended between the two looks.
            if self._outcome is None:
                raise OwnerDiedError(f"thread {self.name} is not in this process: it vanished when the process was forked")
        return self._outcome[1]

    if _KNOWN:

        def _bootstrap_inner(self):
            # As the interpreter's, but for what is kept of run().
            try:
                self._set_ident()
                if not _HAS_HANDLES:
                    self._set_tstate_lock()
                self._set_native_id()
                self._started.set()
                with _stock._active_limbo_lock:
                    _stock._active[self._ident] = self
                    del _stock._limbo[self]
                if _stock._trace_hook:
                    sys.settrace(_stock._trace_hook)
                if _stock._profile_hook:
                    sys.setprofile(_stock._profile_hook)
                try:
                    self._outcome = (self.run(), None)
                except BaseException as error:
                    # The hook hears of it first, with its traceback.
                    try:
                        self._invoke_excepthook(self)
                    finally:
                        self._outcome = (None, _without_frames(error))
            finally:
                self._delete()

        # A thread that is joined has mostly ended by then: nothing is left to be asked.

        if _HAS_HANDLES:

            def join(self, timeout=None):
                """Wait until the thread has ended, for `timeout` seconds at most; `is_alive` tells whether it has."""
                if timeout is None and self._initialized and self._handle.is_done():
                    # The system's thread may still be about to end.
                    self._handle.join()
                else:
                    _StockThread.join(self, timeout)

        else:

            def join(self, timeout=None):
                """Wait until the thread has ended, for `timeout` seconds at most; `is_alive` tells whether it has."""
                lock = self._tstate_lock if timeout is None and self._initialized else None
                if lock is not None and not lock.locked():
                    self._stop()
                else:
                    _StockThread.join(self, timeout)

            # As the interpreter's, but that these two do not look through the locks of all threads: who sees a thread's end
            # removes its lock, and those of threads that nobody looks at are removed once there are many.

            def _set_tstate_lock(self):
                lock = _stock._set_sentinel()
                lock.acquire()
                # Not before it is held: see join().
                self._tstate_lock = lock
                if not self.daemon:
                    with _stock._shutdown_locks_lock:
                        if len(_stock._shutdown_locks) >= _MANY_LOCKS:
                            _stock._maintain_shutdown_locks()
                        _stock._shutdown_locks.add(lock)

            def _stop(self):
                lock = self._tstate_lock
                self._is_stopped = True
                self._tstate_lock = None
                if not self.daemon:
                    with _stock._shutdown_locks_lock:
                        _stock._shutdown_locks.discard(lock)

    else:

        def _bootstrap_inner(self):
            run = self.run

            def keeping():
                try:
                    value = run()
                except BaseException as error:
                    self._outcome = (None, error)
                    raise
                self._outcome = (value, None)

            self.run = keeping
            try:
                super()._bootstrap_inner()
            finally:
                del self.run
                if self._outcome is not None and self._outcome[1] is not None:
                    self._outcome = (None, _without_frames(self._outcome[1]))


class Timer(Thread, _StockTimer):
    """Calls `function(*args, **kwargs)` after `interval` seconds, unless it is cancelled before; its result is the call's."""

    __module__ = "threading"

    def __init__(self, interval, function, args=None, kwargs=None):
        Thread.__init__(self)
        self.interval = interval
        self.function = function
        self.args = args if args is not None else []
        self.kwargs = kwargs if kwargs is not None else {}
        self.finished = _event()

    def run(self):
        """Wait, and call the function unless the timer has been cancelled."""
        self.finished.wait(self.interval)
        try:
            if not self.finished.is_set():
                return self.function(*self.args, **self.kwargs)
        finally:
            self.finished.set()


# Our classes of which every instance of the interpreter's is one.
_OF_ALL = {Thread: _StockThread, Timer: _StockTimer}

# Tells the interpreter's own hooks of an exception, at its exit too; made once they are seen.
_of_original_hooks = None


def _made_of_original_hooks():
    global _of_original_hooks
    _of_original_hooks = _stock._make_invoke_excepthook()
    return _of_original_hooks


_daemon_threads_allowed = getattr(_stock, "_daemon_threads_allowed", lambda: True)


def _event():
    from allcores.threading import Event

    return Event()


def _without_frames(error, seen=None):
    """A copy of an exception that holds no traceback, nor do its cause and context; itself, if it cannot be copied."""
    if seen is None:
        seen = {}
    if error is None or id(error) in seen:
        return seen.get(id(error))
    twin = seen[id(error)] = _twin(error, seen)
    cause, context, suppress = error.__cause__, error.__context__, error.__suppress_context__
    twin.__traceback__ = None
    twin.__cause__ = _without_frames(cause, seen)
    twin.__context__ = _without_frames(context, seen)
    twin.__suppress_context__ = suppress
    return twin


def _twin(error, seen):
    try:
        if isinstance(error, BaseExceptionGroup):
            twin = error.derive([_without_frames(part, seen) for part in error.exceptions])
            vars(twin).update(vars(error))
        else:
            twin = copy.copy(error)
    except Exception:
        return error
    return twin if type(twin) is type(error) else error
