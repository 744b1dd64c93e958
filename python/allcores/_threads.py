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
                name = _stock._newname("Thread-%d")
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
            raise OwnerDiedError(f"thread {self.name} is not in this process: it vanished when the process was forked")
        return self._outcome[1]

    def _keep_run(self):
        """Runs `run()` and keeps what comes of it; the excepthook hears of exceptions first, with their traceback."""
        try:
            self._outcome = (self.run(), None)
        except BaseException as error:
            try:
                self._invoke_excepthook(self)
            finally:
                self._outcome = (None, _without_frames(error))

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
                self._keep_run()
            finally:
                self._delete()

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
