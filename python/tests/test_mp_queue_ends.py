"""The two ends of a queue between processes, and what of the stdlib stands on them."""

import os
import pickle
import signal
from multiprocessing import connection as stock_connection

import pytest
from queue_kit import PATIENCE, ended_well, start

from allcores.multiprocessing import get_context, queues


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
