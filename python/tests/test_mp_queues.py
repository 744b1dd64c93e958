"""Queue, JoinableQueue and SimpleQueue between processes: what CPython's own tests do not look at."""

import copyreg
import gc
import os
import pickle
import queue
import signal
import threading
import weakref
from multiprocessing import connection as stock_connection
from multiprocessing import queues as stock
from multiprocessing import reduction

import pytest
from asleep import sleeps, until_asleep

import allcores
from allcores.multiprocessing import get_context, queues

PATIENCE = 100


def start(ctx, target, *args, daemon=True):
    process = ctx.Process(target=target, args=args, daemon=daemon)
    process.start()
    return process


def ended_well(process):
    process.join(PATIENCE)
    assert process.exitcode == 0


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


@pytest.fixture
def plain():
    """A queue of a context that has no part in the test."""
    return get_context("fork").Queue()


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


def work(box, report):
    while True:
        box.get()
        report.put(os.getpid())
        box.task_done()


def hold(box, report):
    box.get()
    report.put("got")
    threading.Event().wait()


def test_join_waits_for_every_task(ctx):
    box, report = ctx.JoinableQueue(), ctx.Queue()
    workers = [start(ctx, work, box, report) for _ in range(2)]
    for n in range(50):
        box.put(n)
    box.join()
    assert report.qsize() == 50
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()
    for worker in workers:
        worker.kill()
        worker.join()
    box.put(1)
    assert box.get() == 1
    box.task_done()
    box.join()


def test_join_ends_when_a_consumer_was_killed_between_get_and_task_done(ctx):
    box, report = ctx.JoinableQueue(), ctx.Queue()
    process = start(ctx, hold, box, report)
    box.put("item")
    assert report.get(timeout=PATIENCE) == "got"
    failed = []

    def join():
        try:
            box.join()
        except allcores.ItemsLostError as error:
            failed.append(error.count)

    joiner = threading.Thread(target=join)
    joiner.start()
    process.kill()
    joiner.join(PATIENCE)
    assert failed == [1]
    assert box.forget_lost() == 1
    box.join()


def wait_for_ever(box, report):
    report.put(sleeps())
    box.get()


def put_for_ever(box, report):
    report.put("putting")
    while True:
        box.put([b"x" * 1000])


def test_a_consumer_killed_while_it_waits_takes_nothing_along(ctx):
    box, report = ctx.Queue(), ctx.Queue()
    for _ in range(3):
        process = start(ctx, wait_for_ever, box, report)
        until_asleep(process.pid, report.get(timeout=PATIENCE))
        process.kill()
        process.join()
        box.put("item")
        assert box.get(timeout=PATIENCE) == "item"


def test_a_producer_killed_while_it_puts_stops_nobody(ctx):
    box, report = ctx.Queue(5), ctx.Queue()
    process = start(ctx, put_for_ever, box, report)
    report.get(timeout=PATIENCE)
    for _ in range(20):
        assert len(box.get(timeout=PATIENCE)[0]) == 1000
    process.kill()
    process.join()
    while not box.empty():
        assert len(box.get(timeout=PATIENCE)[0]) == 1000
    box.put(1, timeout=PATIENCE)
    assert box.get(timeout=PATIENCE) == 1


def test_fork_while_another_thread_uses_the_queue():
    ctx = get_context("fork")
    box, back = ctx.Queue(), ctx.Queue()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            box.put([1])
            box.get()

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in range(10):
            process = start(ctx, forked, box, back, n)
            assert back.get(timeout=PATIENCE) == n
            ended_well(process)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def forked(box, back, n):
    box.put([1])
    box.get()
    back.put(n)


# ---- the two ends


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_the_ends_are_connections(ctx, kind):
    box = getattr(ctx, kind)()
    reader, writer = box._reader, box._writer
    assert (reader.readable, reader.writable, writer.readable, writer.writable) == (True, False, False, True)
    assert not reader.poll() and not reader.poll(0.01)
    writer.send({"a": 1})
    writer.send_bytes(b"0123456789", 2, 3)
    writer.send_bytes(memoryview(b"x" * 50_000))
    assert reader.poll() and reader.poll(None)
    assert reader.recv() == {"a": 1}
    assert reader.recv_bytes(10) == b"234"
    buffer = bytearray(50_010)
    assert reader.recv_bytes_into(buffer, 5) == 50_000 and buffer[4:6] == b"\0x"
    box.put("object")
    assert pickle.loads(reader.recv_bytes()) == "object"
    writer.send("other")
    assert box.get() == "other"
    writer.send_bytes(b"too long")
    with pytest.raises(ctx.BufferTooShort) as caught:
        reader.recv_bytes_into(bytearray(3))
    assert caught.value.args == (b"too long",)
    with reader, writer:
        pass
    assert reader.closed and writer.closed
    for closed in (reader.recv, reader.poll, reader.fileno, reader.recv_bytes, lambda: writer.send(1), writer.fileno):
        with pytest.raises(OSError, match="closed"):
            closed()


def put_when_asked(inbox, outbox):
    while (item := inbox.get()) is not None:
        outbox.put(item)


def test_wait_for_a_queue_beside_other_things(ctx):
    from allcores.multiprocessing import connection as ours

    inbox, outbox = ctx.Queue(), ctx.SimpleQueue()
    left, right = ctx.Pipe()
    process = start(ctx, put_when_asked, inbox, outbox)
    for wait in (stock_connection.wait, ours.wait):
        things = [outbox._reader, left, process.sentinel]
        assert wait(things, 0) == []
        inbox.put("through the queue")
        assert wait(things, PATIENCE) == [outbox._reader]
        assert outbox.get() == "through the queue"
        assert wait(things, 0) == []
        right.send(1)
        assert wait(things, PATIENCE) == [left]
        left.recv()
    inbox.put(None)
    assert process.sentinel in stock_connection.wait([outbox._reader, process.sentinel], PATIENCE)
    process.join()


def wait_in_child(box, back):
    back.put(stock_connection.wait([box._reader], PATIENCE) == [box._reader] and box.get())


def test_the_descriptor_works_in_a_forked_child_too():
    ctx = get_context("fork")
    box, back = ctx.SimpleQueue(), ctx.Queue()
    box.put(0)
    assert stock_connection.wait([box._reader], PATIENCE) and box.get() == 0
    process = start(ctx, wait_in_child, box, back)
    box.put("for the child")
    assert back.get(timeout=PATIENCE) == "for the child"
    ended_well(process)


def reads_to_the_end(box, ready):
    box._writer.close()
    ready.put(os.getpid())
    try:
        while box._reader.recv():
            pass
    except EOFError:
        os._exit(7)


def test_a_reader_that_closed_its_writer_comes_to_the_end():
    # As a pool's worker whose parent is killed.
    ctx = get_context("fork")
    ready = ctx.SimpleQueue()
    middle = os.fork()
    if not middle:
        box = ctx.SimpleQueue()
        box.put("one")
        start(ctx, reads_to_the_end, box, ready, daemon=False)
        signal.pause()
    reader = ready.get()
    handle = os.pidfd_open(reader)
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)
    assert stock_connection.wait([handle], PATIENCE) == [handle]
    os.close(handle)


# ---- pools and executors of the stdlib


def square(n):
    return n * n


def explode(n):
    raise LookupError(n)


def test_the_stdlibs_pool_works_on_our_queues(ctx):
    with ctx.Pool(2) as pool:
        assert type(pool._inqueue) is queues.SimpleQueue
        assert pool.map(square, range(200)) == [n * n for n in range(200)]
        assert sorted(pool.imap_unordered(square, range(50), 3)) == [n * n for n in range(50)]
        with pytest.raises(LookupError):
            pool.apply(explode, (1,))
        assert pool.apply(len, (b"x" * 1_000_000,)) == 1_000_000
        pool.close()
        pool.join()


def test_the_stdlibs_executor_works_on_our_queues(ctx):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(100))) == [n * n for n in range(100)]
        with pytest.raises((AttributeError, pickle.PicklingError)):
            executor.submit(square, lambda: None).result(PATIENCE)
        assert executor.submit(square, 3).result(PATIENCE) == 9


# ---- signals


@pytest.mark.parametrize("wait", ["box.get()", "box.get(timeout=60)", "full.put(1)", "full.put([1], timeout=60)", "box._reader.poll(None)", "join.join()"])
def test_ctrl_c_leaves_every_wait(run_script, wait):
    ended = run_script(f"""
        import signal
        import allcores.multiprocessing as mp
        from asleep import signal_when_asleep
        ctx = mp.get_context("fork")
        box, full, join = ctx.Queue(), ctx.Queue(1), ctx.JoinableQueue()
        full.put(0)
        join.put(0)
        try:
            signal_when_asleep(signal.SIGINT)
            {wait}
            print("not left")
        except KeyboardInterrupt:
            print("left")
        box.put(1)
        assert box.get() == 1 and full.get() == 0
        """)
    assert ended.ok() == "left\n"


def test_a_handler_may_use_the_queue_that_was_interrupted(plain):
    seen = []

    def handler(signum, frame):
        plain.put("from the handler")
        seen.append(signum)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        main = threading.get_ident()
        thread = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
        thread.start()
        assert plain.get(timeout=PATIENCE) == "from the handler"
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_process_arguments_are_all_that_keeps_a_queue(ctx):
    box = ctx.Queue()
    left, right = ctx.Pipe()
    process = start(ctx, forward, right, ctx.SimpleQueue(), box)
    gc.collect()
    # Had the child's queue been given back, one of these would lie in its place.
    others = [ctx.SimpleQueue() for _ in range(5)]
    for other in others:
        other.put("for somebody else")
    left.send("go")
    assert box.get(timeout=PATIENCE) == "through a queue of its own"
    ended_well(process)


def forward(right, own, box):
    # Nothing shared is used before the parent has let go.
    right.recv()
    own.put("through a queue of its own")
    box.put(own.get())
