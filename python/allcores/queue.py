"""Queues between threads: everything of the interpreter's `queue`, on the primitives of `allcores.threading`.

The classes extend the interpreter's own, so `isinstance(q, queue.Queue)` holds, and what a subclass may use or override
is what it may there: the hooks `_init _qsize _put _get` and the attributes `mutex`, `queue`, `not_empty`, `not_full`,
`all_tasks_done`, `unfinished_tasks`, `is_shutdown` and `maxsize`. `shutdown` is there on every version. Exceptions are
the interpreter's own classes; `ShutDown`, which Python has since 3.13, is made here where it is missing.
"""

import queue as _stock
from collections import deque as _deque
from heapq import heappop as _heappop
from heapq import heappush as _heappush
from queue import Empty, Full
from queue import _PySimpleQueue as _PySimpleQueue
from time import monotonic as _now

from allcores._allcores import SimpleQueue
from allcores.threading import Condition as _Condition
from allcores.threading import Lock as _Lock

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

# Bound once: the stock module's names may be replaced by ours (`allcores.install`), and are looked up by nobody here.
_StockQueue = _stock.Queue
_StockPriorityQueue = _stock.PriorityQueue
_StockLifoQueue = _stock.LifoQueue

try:
    ShutDown = _stock.ShutDown
except AttributeError:

    class ShutDown(Exception):
        """Raised by put and get of a queue that has been shut down."""


class Queue(_StockQueue):
    """A first-in, first-out queue for any number of producing and consuming threads.

    With `maxsize` above 0 it holds that many items at most, and `put` waits for room.
    """

    def __init__(self, maxsize=0):
        self.maxsize = maxsize
        self._init(maxsize)
        # Held whenever the queue changes, and shared by the three conditions.
        self.mutex = _Lock()
        self.not_empty = _Condition(self.mutex)
        self.not_full = _Condition(self.mutex)
        self.all_tasks_done = _Condition(self.mutex)
        self.unfinished_tasks = 0
        self.is_shutdown = False

    def task_done(self):
        """Say that the work on one item that was taken is done; `join` waits for this.

        Raises ValueError if called more often than items were put.
        """
        with self.all_tasks_done:
            unfinished = self.unfinished_tasks - 1
            if unfinished <= 0:
                if unfinished < 0:
                    raise ValueError("task_done() called too many times")
                self.all_tasks_done.notify_all()
            self.unfinished_tasks = unfinished

    def join(self):
        """Wait until `task_done` has been called for every item that was put."""
        with self.all_tasks_done:
            while self.unfinished_tasks:
                self.all_tasks_done.wait()

    def qsize(self):
        """Return how many items are there; it may be another number by the time it is used."""
        with self.mutex:
            return self._qsize()

    def empty(self):
        """Return whether there is no item; it may have changed by the time it is used."""
        with self.mutex:
            return not self._qsize()

    def full(self):
        """Return whether `maxsize` items are there; it may have changed by the time it is used."""
        with self.mutex:
            return 0 < self.maxsize <= self._qsize()

    def put(self, item, block=True, timeout=None):
        """Put an item into the queue, waiting for room if `block` is true.

        After `timeout` seconds (None: never), or at once if `block` is false, raise Full. Raises ShutDown if the queue
        has been shut down, and ValueError for a negative timeout.
        """
        with self.not_full:
            if self.is_shutdown:
                raise ShutDown
            if self.maxsize > 0:
                if not block:
                    if self._qsize() >= self.maxsize:
                        raise Full
                elif timeout is None:
                    while self._qsize() >= self.maxsize:
                        self.not_full.wait()
                        if self.is_shutdown:
                            raise ShutDown
                elif timeout < 0:
                    raise ValueError("'timeout' must be a non-negative number")
                else:
                    end = _now() + timeout
                    while self._qsize() >= self.maxsize:
                        remaining = end - _now()
                        if remaining <= 0.0:
                            raise Full
                        self.not_full.wait(remaining)
                        if self.is_shutdown:
                            raise ShutDown
            self._put(item)
            self.unfinished_tasks += 1
            self.not_empty.notify()

    def get(self, block=True, timeout=None):
        """Remove and return an item, waiting for one if `block` is true.

        After `timeout` seconds (None: never), or at once if `block` is false, raise Empty. Raises ShutDown if the queue
        has been shut down and has no items, and ValueError for a negative timeout.
        """
        with self.not_empty:
            if self.is_shutdown and not self._qsize():
                raise ShutDown
            if not block:
                if not self._qsize():
                    raise Empty
            elif timeout is None:
                while not self._qsize():
                    self.not_empty.wait()
                    if self.is_shutdown and not self._qsize():
                        raise ShutDown
            elif timeout < 0:
                raise ValueError("'timeout' must be a non-negative number")
            else:
                end = _now() + timeout
                while not self._qsize():
                    remaining = end - _now()
                    if remaining <= 0.0:
                        raise Empty
                    self.not_empty.wait(remaining)
                    if self.is_shutdown and not self._qsize():
                        raise ShutDown
            item = self._get()
            self.not_full.notify()
            return item

    def put_nowait(self, item):
        """Put an item into the queue if there is room at once, else raise Full."""
        return self.put(item, block=False)

    def get_nowait(self):
        """Remove and return an item if there is one at once, else raise Empty."""
        return self.get(block=False)

    def shutdown(self, immediate=False):
        """Make `put` raise ShutDown from now on, and `get` once no item is left.

        All that wait in `put` or `get` are woken. With `immediate`, the items that are there are dropped, each counted
        as done, and who waits in `join` is woken as well.
        """
        with self.mutex:
            self.is_shutdown = True
            if immediate:
                while self._qsize():
                    self._get()
                    if self.unfinished_tasks > 0:
                        self.unfinished_tasks -= 1
                self.all_tasks_done.notify_all()
            self.not_empty.notify_all()
            self.not_full.notify_all()

    # What another order overrides. All are called with `mutex` held.

    def _init(self, maxsize):
        self.queue = _deque()

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        self.queue.append(item)

    def _get(self):
        return self.queue.popleft()


class PriorityQueue(Queue, _StockPriorityQueue):
    """A queue that gives its lowest item first; items are typically tuples `(priority, data)`."""

    def _init(self, maxsize):
        self.queue = []

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        _heappush(self.queue, item)

    def _get(self):
        return _heappop(self.queue)


class LifoQueue(Queue, _StockLifoQueue):
    """A queue that gives the item that was put last."""

    def _init(self, maxsize):
        self.queue = []

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        self.queue.append(item)

    def _get(self):
        return self.queue.pop()
