"""Queues between processes: Queue, JoinableQueue and SimpleQueue, in shared memory.

As the stdlib's, which they extend, with these differences. There is no feeder thread: `put` pickles and copies before it
returns, so what does not pickle is raised there, and a process may end as soon as it has put. A process that is killed,
holding whatever, does not stop the others. A queue needs no descriptor.
"""

import os
import types
from multiprocessing import context
from multiprocessing import queues as _stock
from queue import Empty, Full

from allcores._allcores import SharedQueue, quicken_queue
from allcores._errors import ItemsLostError
from allcores.multiprocessing import _arena
from allcores.multiprocessing._pickling import ATOMS as _ATOMS
from allcores.multiprocessing._pickling import Kit as _Kit
from allcores.multiprocessing._pickling import atom as _atom
from allcores.multiprocessing._pickling import idle as _idle
from allcores.multiprocessing._pickling import loads as _loads
from allcores.multiprocessing._queue_ends import Ends as _Ends

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_SEM_VALUE_MAX = 2**31 - 1
_NO_HOOK = _stock.Queue._on_queue_feeder_error


#: What the stdlib's queue consists of and ours does not have: its feeder thread, and what goes with it.
_STOCK_PARTS = frozenset(
    "_after_fork _buffer _close _feed _finalize_close _finalize_join _joincancelled _jointhread _notempty _recv_bytes _reset "
    "_sem _send_bytes _start_thread _thread".split()
)


def _built_on_stock(cls):
    """Whether a class replaces or looks at parts of the stdlib's queue that ours does not have."""
    for name, value in vars(cls).items():
        code = getattr(getattr(value, "__func__", value), "__code__", None)
        if name in _STOCK_PARTS or code is not None and not _STOCK_PARTS.isdisjoint(code.co_names):
            return True
    return False


def _core_from(state, joinable):
    return _arena.rebuild(lambda packed: SharedQueue._unpack(packed, joinable), state)


class Queue(_Ends, _stock.Queue):
    """A first-in, first-out queue for any number of processes and threads.

    With `maxsize` above 0 it holds that many items at most, and `put` waits for room. `close`, as in the stdlib, is for
    this process alone.
    """

    _joinable = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if _built_on_stock(cls):
            # It is what it would be without us: loky, and with it joblib, have such a queue.
            cls.__bases__ = tuple(_STOCK.get(base, base) for base in cls.__bases__)

    def __init__(self, maxsize=0, *, ctx):
        if maxsize <= 0:
            maxsize = _SEM_VALUE_MAX
        limit = None if maxsize == _SEM_VALUE_MAX else maxsize
        self._maxsize = maxsize
        self._wlock = ctx.Lock()
        self._opid = os.getpid()
        # For concurrent.futures, which sets it.
        self._ignore_epipe = False
        self._use(SharedQueue(limit, self._joinable))

    def __getstate__(self):
        context.assert_spawning(self)
        return self._ignore_epipe, self._maxsize, _arena.pack(self._core), self._wlock, self._opid

    def __setstate__(self, state):
        self._ignore_epipe, self._maxsize, core, self._wlock, self._opid = state
        self._use(_core_from(core, self._joinable))

    def _use(self, core):
        self._core = core
        # What the quick ways look at.
        self._open = core
        self._closed = False

    # `put` and `get` are put here by `quicken_queue`; these do what they cannot do at once.
    def _put_slowly(self, obj, block, timeout):
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if type(obj) in _ATOMS:
            if not self._core.put(_atom(obj), block, timeout):
                raise Full
            return
        if not block and self._core.full() and not self._core.is_shutdown():
            raise Full
        try:
            kit = _idle.pop()
        except IndexError:
            kit = _Kit()
        try:
            kit.dump(obj)
        except Exception as error:
            hook = self._on_queue_feeder_error
            if hook is _NO_HOOK:
                raise
            hook(error, obj)
            return
        if not self._core.put(kit.parts, block, timeout):
            raise Full
        kit.clear()

    def _get_slowly(self, block, timeout):
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        message = self._core.get(block, timeout)
        if message is None:
            raise Empty
        return _loads(message)

    def get_nowait(self):
        """`get(False)`."""
        return self.get(False)

    def put_nowait(self, obj):
        """`put(obj, False)`."""
        return self.put(obj, False)

    def qsize(self):
        """How many items there are now."""
        return self._core.qsize()

    def empty(self):
        """Whether there are none now."""
        return not self._reader.poll() if self._closed else self._core.empty()

    def full(self):
        """Whether there is no room now."""
        return self._core.full()

    def close(self):
        """This process neither puts nor gets any more. Others go on."""
        self._closed = True
        self._open = None
        if self._core.has_put():
            self._reader.close()
            self._writer.close()

    @property
    def is_shutdown(self):
        """Whether somebody, in whatever process, has shut it down."""
        return self._core.is_shutdown()

    def shutdown(self, immediate=False):
        """Shut it down for all who have it, as `queue.Queue.shutdown` does: `put` raises queue.ShutDown from now on, and `get`
        once nothing is left. Who waits in them is woken.

        If it is `immediate`, what is there is dropped, and counts as done. Before Python 3.13 the exception is
        allcores.queue.ShutDown.
        """
        from allcores.queue import ShutDown

        core = self._core
        core.shutdown()
        try:
            while immediate:
                # It never waits for an item, at most for somebody who has them to himself.
                core.get()
                if self._joinable:
                    core.task_done()
        except ShutDown:
            pass

    def join_thread(self):
        """Returns at once: there is no thread, and what was put is in the queue."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self):
        """Does nothing: there is no thread to wait for."""

    def _terminate_broken(self):
        self._reader.close()
        self.close()

    __class_getitem__ = classmethod(types.GenericAlias)


class JoinableQueue(Queue, _stock.JoinableQueue):
    """A Queue whose consumers say when they are done with an item, and for which others can wait."""

    _joinable = True

    def task_done(self):
        """Say that one item that was got is done. ValueError if there were not so many."""
        self._core.task_done()

    def join(self):
        """Wait until everything that was put is done.

        `allcores.ItemsLostError` if some of it never will be, because the processes that got it are gone, and so it is every
        time until `forget_lost` is called.
        """
        lost = self._core.join()
        if lost:
            error = ItemsLostError(
                f"{lost} items will never be done: the processes that got them are gone; forget_lost() counts them as done"
            )
            error.count = lost
            raise error

    def forget_lost(self):
        """Count what is lost as done; how many items that were."""
        return self._core.forget_lost()


_STOCK = {Queue: _stock.Queue, JoinableQueue: _stock.JoinableQueue}

quicken_queue(Queue)
quicken_queue(JoinableQueue)


class SimpleQueue(_Ends, _stock.SimpleQueue):
    """The least of a queue: `put`, `get`, `empty` and `close`."""

    def __init__(self, *, ctx):
        self._wlock = ctx.Lock()
        self._use(SharedQueue(None, False))

    def __getstate__(self):
        context.assert_spawning(self)
        return _arena.pack(self._core), self._wlock

    def __setstate__(self, state):
        core, self._wlock = state
        self._use(_core_from(core, False))

    def _use(self, core):
        self._core = core
        self._closed = False

    @property
    def _poll(self):
        return self._reader.poll

    def close(self):
        """Close it for this process: `put`, `get` and `empty` raise OSError then."""
        self._reader.close()
        self._writer.close()

    def empty(self):
        """Whether there is nothing to get now."""
        return not self._reader.poll()

    def get(self):
        """Get the next item, and wait for it."""
        return self._reader.recv()

    def put(self, obj):
        """Put an item; raises what pickling it raises."""
        self._writer.send(obj)

    __class_getitem__ = classmethod(types.GenericAlias)
