"""Queues between threads: what CPython's own tests do not ask for."""

import gc
import inspect
import os
import queue as stock
import signal
import sys
import threading
import types
import weakref

import pytest

from allcores import queue
from allcores.threading import Condition, Event, Lock, Thread

QUEUES = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]
ALL = [*QUEUES, queue.SimpleQueue]


@pytest.fixture(params=ALL, ids=lambda kind: kind.__name__)
def anyqueue(request):
    return request.param()


def in_thread(function, *args):
    """A started thread; the result or the error of the function is in its list."""
    came = []

    def run():
        try:
            came.append(function(*args))
        except Exception as error:
            came.append(error)

    thread = Thread(target=run)
    thread.start()
    return thread, came


# -- one world with the interpreter's own


def test_exceptions_are_the_interpreters_own():
    assert queue.Empty is stock.Empty
    assert queue.Full is stock.Full
    if sys.version_info >= (3, 13):
        assert queue.ShutDown is stock.ShutDown
    assert issubclass(queue.ShutDown, Exception)


def test_every_public_name_is_there():
    assert set(stock.__all__) <= set(queue.__all__)
    assert all(hasattr(queue, name) for name in queue.__all__)


@pytest.mark.parametrize("kind", QUEUES)
def test_instances_are_instances_of_the_interpreters_class(kind):
    assert isinstance(kind(), getattr(stock, kind.__name__))
    assert isinstance(kind(), stock.Queue)
    assert isinstance(kind(), queue.Queue)


@pytest.mark.parametrize("kind", QUEUES)
def test_the_primitives_inside_are_ours(kind):
    q = kind()
    assert type(q.mutex) is type(Lock())
    for condition in (q.not_empty, q.not_full, q.all_tasks_done):
        assert isinstance(condition, Condition)


@pytest.mark.parametrize("kind", ALL)
def test_signatures_are_the_interpreters(kind):
    theirs = stock.Queue if kind in QUEUES else stock.SimpleQueue
    for name in ("put", "get", "put_nowait", "get_nowait", "qsize", "empty"):
        mine, other = (inspect.signature(getattr(k, name)) for k in (kind, theirs))
        assert list(mine.parameters) == list(other.parameters), name
        defaults = [[p.default for p in s.parameters.values()] for s in (mine, other)]
        assert defaults[0] == defaults[1], name


# -- the object model


@pytest.mark.parametrize("kind", ALL)
def test_generic_alias(kind):
    alias = kind[int]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__ is kind


def test_weak_references(anyqueue):
    gone = []
    reference = weakref.ref(anyqueue, gone.append)
    assert reference() is anyqueue


@pytest.mark.parametrize("kind", ALL)
def test_a_subclass_has_a_dict_and_its_own_constructor(kind):
    class Mine(kind):
        def __init__(self, colour):
            super().__init__()
            self.colour = colour

    if kind is queue.SimpleQueue:

        class Mine(kind):  # noqa: F811
            def __new__(cls, colour):
                return super().__new__(cls)

            def __init__(self, colour):
                self.colour = colour

    q = Mine("red")
    q.put(1)
    assert (q.get(), q.colour) == (1, "red")


@pytest.mark.parametrize("kind", ALL)
def test_a_cycle_through_a_queue_is_collected(kind):
    class Item:
        def __lt__(self, other):
            return False

    item = Item()
    item.queue = kind()
    item.queue.put(item)
    dead = weakref.ref(item)
    del item
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize("kind", ALL)
def test_items_live_as_long_as_they_are_queued(kind):
    class Item:
        def __lt__(self, other):
            return False

    q = kind()
    item = Item()
    alive = weakref.ref(item)
    q.put(item)
    del item
    gc.collect()
    assert alive() is not None
    assert q.get() is alive()
    assert alive() is None
    q.put(Item())
    alive = weakref.ref(q.get())
    q.put(Item())
    del q
    gc.collect()
    assert alive() is None


# -- bad arguments


@pytest.mark.parametrize("block", [True, 1, "yes"])
def test_a_negative_timeout_is_a_value_error(anyqueue, block):
    with pytest.raises(ValueError, match="non-negative"):
        anyqueue.get(block, -1)


@pytest.mark.parametrize("kind", QUEUES)
def test_a_negative_timeout_of_put_is_one_where_there_is_a_bound(kind):
    q = kind(2)
    with pytest.raises(ValueError, match="non-negative"):
        q.put(1, timeout=-1)
    assert q.empty()
    q.put(1, False, -1)
    assert q.get() == 1


@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_a_timeout_that_is_no_number_is_a_type_error(anyqueue, timeout):
    with pytest.raises(TypeError):
        anyqueue.get(timeout=timeout)


def test_simple_queue_takes_what_the_interpreters_takes():
    q = queue.SimpleQueue()
    with pytest.raises(OverflowError):
        q.get(timeout=1e300)
    with pytest.raises(ValueError):
        q.get(timeout=float("nan"))
    for falsy in (False, 0, None, ""):
        with pytest.raises(queue.Empty):
            q.get(falsy)
        with pytest.raises(queue.Empty):
            q.get(falsy, 5)
    with pytest.raises(queue.Empty):
        q.get(timeout=0)
    q.put("a", False, -1)
    q.put(item="b", block=True, timeout=None)
    q.put_nowait("c")
    q.put_nowait(item="d")
    assert [q.get(), q.get(True), q.get(timeout=1), q.get(block=False)] == list("abcd")
    for bad in (lambda: q.put(), lambda: q.put(1, 2, 3, 4), lambda: q.put(1, colour=2), lambda: q.get(1, 2, 3)):
        with pytest.raises(TypeError):
            bad()
    for bad in (lambda: q.get(blok=1), lambda: q.put(1, item=2), lambda: q.put_nowait(), lambda: q.put_nowait(1, 2)):
        with pytest.raises(TypeError):
            bad()
    with pytest.raises(TypeError):
        queue.SimpleQueue(1)
    assert q.empty()

    class Undecided:
        def __bool__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        q.get(Undecided())


# -- order and hooks


def test_each_queue_has_its_order():
    orders = {queue.Queue: [3, 1, 2], queue.SimpleQueue: [3, 1, 2], queue.LifoQueue: [2, 1, 3]}
    for kind, order in {**orders, queue.PriorityQueue: [1, 2, 3]}.items():
        q = kind()
        for item in (3, 1, 2):
            q.put(item)
        assert q.qsize() == 3 and not q.empty()
        assert [q.get() for _ in range(3)] == order
        assert q.qsize() == 0 and q.empty()


def test_hooks_decide_what_is_in_the_queue():
    class Newest(queue.Queue):
        """Keeps the newest item of each name."""

        def _init(self, maxsize):
            self.queue = {}
            self.seen_maxsize = maxsize

        def _qsize(self):
            return sum(1 for item in self.queue.values() if item[0] != "never counted")

        def _put(self, item):
            assert self.mutex.locked()
            self.queue[item[0]] = item

        def _get(self):
            assert self.mutex.locked()
            return self.queue.pop(next(iter(self.queue)))

    q = Newest(2)
    assert q.seen_maxsize == 2
    q.put(("a", 1))
    q.put(("a", 2))
    assert q.qsize() == 1 and not q.full()
    q.queue["never counted"] = ("never counted", 0)
    assert q.qsize() == 1 and not q.full() and not q.empty()
    del q.queue["never counted"]
    q.put(("b", 3))
    assert q.full()
    with pytest.raises(queue.Full):
        q.put_nowait(("c", 4))
    assert [q.get(), q.get()] == [("a", 2), ("b", 3)]
    with pytest.raises(queue.Empty):
        q.get_nowait()


def test_a_hook_that_raises_leaves_the_queue_usable():
    class Refusing(queue.Queue):
        def _put(self, item):
            if item is None:
                raise ZeroDivisionError
            super()._put(item)

    q = Refusing()
    with pytest.raises(ZeroDivisionError):
        q.put(None)
    assert not q.mutex.locked()
    assert q.unfinished_tasks == 0
    q.put(1)
    assert q.get() == 1


def test_conditions_and_maxsize_may_be_used_from_outside():
    q = queue.Queue(1)
    q.put(1)
    q.maxsize = 2
    q.put(2)
    with q.mutex:
        assert list(q.queue) == [1, 2]
        q.queue.clear()
        q.not_full.notify_all()
    thread, came = in_thread(q.get)
    with q.not_empty:
        q.queue.append("by hand")
        q.not_empty.notify()
    thread.join()
    assert came == ["by hand"]


# -- waiting


def test_a_full_queue_lets_put_wait():
    q = queue.Queue(1)
    q.put(1)
    with pytest.raises(queue.Full):
        q.put(2, timeout=0.01)
    thread, came = in_thread(q.put, 2)
    assert q.get() == 1
    assert q.get() == 2
    thread.join()
    assert came == [None]


def test_many_threads_lose_and_double_nothing():
    for q in (queue.Queue(3), queue.LifoQueue(3), queue.PriorityQueue(3), queue.SimpleQueue()):
        got = [[] for _ in range(4)]

        def consume(mine, q=q):
            while (item := q.get(timeout=100)) != 10**6:
                mine.append(item)

        consumers = [Thread(target=consume, args=(mine,)) for mine in got]
        producers = [
            Thread(target=lambda part=part, q=q: [q.put(item) for item in range(part, 2000, 4)]) for part in range(4)
        ]
        for thread in consumers + producers:
            thread.start()
        for thread in producers:
            thread.join()
        if isinstance(q, queue.LifoQueue):
            # The end would overtake the items.
            while not q.empty():
                pass
        for _ in consumers:
            q.put(10**6)
        for thread in consumers:
            thread.join()
        assert sorted(sum(got, [])) == list(range(2000))


def test_join_waits_for_all_tasks():
    q = queue.Queue()
    for item in range(3):
        q.put(item)
    thread, came = in_thread(q.join)
    for _ in range(3):
        assert thread.is_alive()
        q.get()
        q.task_done()
    thread.join()
    assert came == [None]
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


@pytest.mark.parametrize("kind", QUEUES)
def test_shutdown_lets_getters_finish(kind):
    q = kind(2)
    q.put(1)
    q.shutdown()
    assert q.is_shutdown
    with pytest.raises(queue.ShutDown):
        q.put(2)
    with pytest.raises(queue.ShutDown):
        q.put_nowait(2)
    assert q.get() == 1
    for arguments in ((), (False,), (True, 5)):
        with pytest.raises(queue.ShutDown):
            q.get(*arguments)


@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_wakes_everybody(kind, immediate):
    full, empty = kind(1), kind()
    full.put(1)
    waiting = [in_thread(full.put, 2), in_thread(full.put, 2, True, 60), in_thread(empty.get)]
    waiting.append(in_thread(empty.get, True, 60))
    if immediate:
        waiting.append(in_thread(full.join))
    full.shutdown(immediate)
    empty.shutdown(immediate)
    for thread, _ in waiting:
        thread.join()
    assert [type(came[0]) for _, came in waiting[:4]] == [queue.ShutDown] * 4
    if immediate:
        assert waiting[4][1] == [None]
        assert full.qsize() == full.unfinished_tasks == 0


# -- where SimpleQueue may be used


def test_put_inside_a_finalizer_that_runs_inside_get():
    q = queue.SimpleQueue()

    class Last:
        def __del__(self):
            q.put("from __del__")

    # The only reference to it is the queue's; the collector and the assignment drop it in the middle of things.
    for _ in range(100):
        q.put(Last())
        assert q.get() is not None
        assert q.get() == "from __del__"
    other = queue.SimpleQueue()
    for _ in range(10):
        other.put(Last())
    del other
    assert [q.get_nowait() for _ in range(10)] == ["from __del__"] * 10


def test_put_inside_a_signal_handler_of_a_waiting_thread():
    q, main, about, over = queue.SimpleQueue(), threading.get_ident(), Event(), Event()

    def shoot():
        about.wait()
        while not over.wait(0.01):
            signal.pthread_kill(main, signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, lambda *_: q.put("from the handler"))
    try:
        thread, _ = in_thread(shoot)
        about.set()
        assert q.get() == "from the handler"
        over.set()
        thread.join()
        signal.raise_signal(signal.SIGUSR1)
        assert q.get(timeout=100) == "from the handler"
    finally:
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("timeout", [None, 60])
def test_a_handler_that_raises_ends_the_wait(kind, timeout):
    class Stop(Exception):
        pass

    about, over = Event(), Event()

    def stop(*_):
        if not over.is_set():
            over.set()
            raise Stop

    # Again and again: as with the interpreter's own, a signal in the moment before the sleep does not end it.
    def shoot():
        about.wait()
        while not over.wait(0.01):
            signal.pthread_kill(main, signal.SIGUSR1)

    q, main = kind(), threading.get_ident()
    old = signal.signal(signal.SIGUSR1, stop)
    try:
        thread, _ = in_thread(shoot)
        with pytest.raises(Stop):
            about.set()
            q.get(timeout=timeout)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    q.put(1)
    assert q.get() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ALL)
def test_a_forked_child_has_the_items_and_none_of_the_waiters(kind):
    waited, q = kind(), kind()
    q.put(1)
    thread, came = in_thread(waited.get)
    while not inside_get(thread):
        pass
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            waited.put(2)
            code = 0 if (q.get(), waited.get(timeout=100)) == (1, 2) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    waited.put(3)
    thread.join()
    assert came == [3]


def inside_get(thread):
    frame = sys._current_frames().get(thread.ident)
    while frame is not None:
        if frame.f_code.co_name in ("run", "get") and frame.f_code.co_filename in (__file__, queue.__file__):
            return True
        frame = frame.f_back
    return False
