"""Queue, JoinableQueue and SimpleQueue between processes: what CPython's own tests do not look at."""

import copyreg
import gc
import pickle
import queue
import threading
import weakref
from multiprocessing import queues as stock
from multiprocessing import reduction

import pytest
from asleep import sleeps, until_asleep
from queue_kit import PATIENCE, ended_well, plain, start

from allcores.multiprocessing import get_context, queues


def echo(inbox, outbox):
    while (item := inbox.get()) is not None:
        outbox.put(item)


def both_ways(ctx):
    """A function that sends an object through another process and back."""
    inbox, outbox = ctx.Queue(), ctx.Queue()
    process = start(ctx, echo, inbox, outbox)

    def there_and_back(obj):
        inbox.put(obj)
        return outbox.get(timeout=PATIENCE)

    return there_and_back, lambda: (inbox.put(None), ended_well(process))


def test_objects_of_every_size(ctx):
    send, end = both_ways(ctx)
    for length in (0, 1, 100, 16_383, 16_385, 65_536, 70_000, 3_000_000):
        for obj in (b"x" * length, "ä" * length, bytearray(length), [length] * 10, (b"y" * length, "z" * length)):
            got = send(obj)
            assert (type(got), got) == (type(obj), obj)
    for obj in (None.__class__, 1.5, True, {1: {2: [3]}}, pickle.PickleBuffer(b"q" * 200_000)):
        got = send(obj)
        assert got == (bytes(obj) if isinstance(obj, pickle.PickleBuffer) else obj)
    end()


def test_numpy_arrays(ctx):
    numpy = pytest.importorskip("numpy")
    send, end = both_ways(ctx)
    for array in (
        numpy.arange(3),
        numpy.zeros((500, 700)),
        numpy.asfortranarray(numpy.arange(600_000.0).reshape(600, 1000)),
        numpy.arange(2_000_000)[::2],
        numpy.array(["a", None], dtype=object),
    ):
        got = send({"array": array, "beside": [array.shape]})
        assert got["array"].dtype == array.dtype and got["beside"] == [array.shape]
        assert numpy.array_equal(got["array"], array)
        assert got["array"].flags.writeable
        if array.dtype != object:
            got["array"][...] = 7
    end()


def send_big(outbox, length):
    outbox.put(b"b" * length)


def test_a_message_of_100_megabytes_outlives_its_sender(ctx):
    outbox = ctx.Queue()
    process = start(ctx, send_big, outbox, 100_000_000, daemon=False)
    # The sender ends although nobody has got anything.
    ended_well(process)
    got = outbox.get(timeout=PATIENCE)
    assert len(got) == 100_000_000 and set(got[:: 1 << 20]) == {ord("b")}
    # And the memory is used again, or goes back.
    for _ in range(3):
        outbox.put(got)
        assert len(outbox.get(timeout=PATIENCE)) == len(got)


class NoPickle:
    def __reduce__(self):
        raise LookupError("not this one")


class NoUnpickle:
    def __reduce__(self):
        return fail, ()


def fail():
    raise LookupError("not here")


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_what_does_not_pickle_is_raised_by_put_and_takes_no_room(kind):
    ctx = get_context("fork")
    box = ctx.SimpleQueue() if kind == "SimpleQueue" else getattr(ctx, kind)(2)
    for _ in range(5):
        with pytest.raises(LookupError, match="not this one"):
            box.put([b"z" * 100_000, NoPickle()])
        with pytest.raises((AttributeError, pickle.PicklingError)):
            box.put(lambda: None)
    assert box.empty()
    box.put([1])
    box.put([2])
    assert (box.get(), box.get()) == ([1], [2])


def test_what_does_not_unpickle_is_raised_by_get_and_the_queue_goes_on(plain):
    plain.put(NoUnpickle())
    plain.put((NoUnpickle(), b"x" * 100_000))
    plain.put("next")
    for _ in range(2):
        with pytest.raises(LookupError, match="not here"):
            plain.get()
    assert plain.get() == "next"


class Hooked(queues.Queue):
    """As ProcessPoolExecutor's."""

    def __init__(self, *args, **kwargs):
        self.failures = []
        super().__init__(*args, **kwargs)

    def _on_queue_feeder_error(self, e, obj):
        # Nothing of ours is held: the queue can be used.
        super().put("from the hook")
        self.failures.append((type(e), obj))


def test_a_subclass_hears_of_what_does_not_pickle():
    box = Hooked(1, ctx=get_context("fork"))
    obj = NoPickle()
    box.put(obj)
    assert box.failures == [(LookupError, obj)]
    assert box.get() == "from the hook"
    box.put(1, timeout=PATIENCE)


class Registered:
    pass


class Copied:
    pass


def test_reducers_that_are_registered_late_are_used(plain):
    plain.put({"an": object})  # the table has been used
    plain.get()
    try:
        reduction.ForkingPickler.register(Registered, lambda obj: (str, ("first",)))
        copyreg.pickle(Copied, lambda obj: (str, ("copied",)))
        plain.put([Registered(), Copied()])
        assert plain.get() == ["first", "copied"]
        reduction.ForkingPickler.register(Registered, lambda obj: (str, ("second",)))
        plain.put([Registered()])
        assert plain.get() == ["second"]
    finally:
        reduction.ForkingPickler._extra_reducers.pop(Registered, None)
        copyreg.dispatch_table.pop(Copied, None)


class PutsWhilePickled:
    def __init__(self, box):
        self.box = box

    def __reduce__(self):
        self.box.put([1, [2]])
        return list, ()


def test_put_within_put(plain):
    plain.put([PutsWhilePickled(plain), "outer"])
    assert plain.get() == [1, [2]]
    assert plain.get() == [[], "outer"]


def test_put_keeps_nothing_alive(plain):
    class Local:
        def __reduce__(self):
            return list, ()

    obj = Local()
    gone = weakref.ref(obj)
    plain.put([obj, b"x" * 100_000])
    del obj
    gc.collect()
    assert gone() is None


def test_full_and_empty():
    box = get_context("fork").Queue(2)
    for put in (lambda: box.put(1), lambda: box.put([1], True, 1), lambda: box.put_nowait("x"), lambda: box.put([2], 0)):
        put()
        assert not box.full()
        put()
        assert box.full() and box.qsize() == 2
        for full in (
            lambda: box.put(3, False),
            lambda: box.put([3], False),
            lambda: box.put([3], timeout=0.01),
            lambda: box.put(b"x" * 100_000, timeout=0.01),
            lambda: box.put(3, True, -1),
            lambda: box.put_nowait({}),
        ):
            with pytest.raises(queue.Full):
                full()
        box.get(), box.get(False)
        for empty in (box.get_nowait, lambda: box.get(timeout=0.01), lambda: box.get(0), lambda: box.get(True, -1)):
            with pytest.raises(queue.Empty):
                empty()
        assert box.empty() and not box.full()


def test_bad_arguments_raise_what_stock_raises():
    ctx = get_context("fork")
    with pytest.raises(TypeError):
        ctx.Queue("many")
    with pytest.raises(TypeError):
        ctx.Queue(2.5)
    with pytest.raises(OverflowError):
        ctx.Queue(2**40)
    box = ctx.Queue()
    with pytest.raises(TypeError):
        box.get(True, "soon")
    with pytest.raises(TypeError):
        box.put(1, True, "soon")
    assert ctx.Queue(-3)._maxsize == ctx.Queue(0)._maxsize == ctx.Queue()._maxsize
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(box)
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(ctx.SimpleQueue())


def test_closing_is_for_this_process_alone(ctx):
    inbox, outbox = ctx.Queue(), ctx.Queue()
    process = start(ctx, echo, inbox, outbox)
    inbox.put("one")
    inbox.put(None)
    inbox.close()
    inbox.join_thread()
    for closed in (lambda: inbox.put(1), inbox.get, lambda: inbox.get_nowait(), lambda: inbox.put_nowait([])):
        with pytest.raises(ValueError, match="is closed"):
            closed()
    assert outbox.get(timeout=PATIENCE) == "one"
    ended_well(process)
    simple = ctx.SimpleQueue()
    simple.put(1)
    simple.close()
    for closed in (lambda: simple.put(1), simple.get, simple.empty):
        with pytest.raises(OSError, match="closed"):
            closed()


def test_a_thread_is_not_told_that_nobody_is_left(ctx):
    # A listener waits for a sentinel of its own process, after all others have gone.
    box = ctx.Queue()
    heard, about = [], threading.Semaphore(0)
    process = start(ctx, send_big, box, 10)
    ended_well(process)

    def listen():
        heard.append(box.get())
        before.append(sleeps(threading.get_native_id()))
        about.release()
        heard.append(box.get())

    before = []
    listener = threading.Thread(target=listen)
    listener.start()
    about.acquire()
    # Before its second sleep it looks round for the dead.
    until_asleep(listener.native_id, before[0] + 1)
    box.put(None)
    listener.join(PATIENCE)
    assert heard == [b"b" * 10, None]


def test_objects_are_the_stdlibs_too():
    ctx = get_context("fork")
    joinable, simple = ctx.JoinableQueue(), ctx.SimpleQueue()
    assert isinstance(joinable, stock.JoinableQueue) and isinstance(joinable, queues.Queue)
    assert isinstance(simple, stock.SimpleQueue)
    assert type(joinable) is queues.JoinableQueue and type(simple) is queues.SimpleQueue
    joinable.mark = 1
    for obj in (joinable, simple, ctx.Queue()):
        assert weakref.ref(obj)() is obj
    assert queues.Queue[int].__origin__ is queues.Queue
