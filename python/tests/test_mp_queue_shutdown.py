"""`shutdown` of queues between processes: as threads' queues have it, for all processes at once."""

import queue

import pytest

from allcores.queue import ShutDown

KINDS = pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])


def take_all(items, results):
    """What comes until the end, and the end."""
    try:
        while True:
            results.put(items.get())
    except ShutDown:
        results.put("end")


@KINDS
def test_what_is_there_is_got_and_then_the_end(ctx, kind):
    items = getattr(ctx, kind)()
    items.put([1])
    items.put(2)
    assert not items.is_shutdown
    items.shutdown()
    items.shutdown()
    assert items.is_shutdown
    for block in (True, False):
        with pytest.raises(ShutDown):
            items.put(3, block)
        with pytest.raises(ShutDown):
            items.put([3], block)
    assert [items.get(), items.get(False)] == [[1], 2]
    for arguments in ((), (False,), (True, 5)):
        with pytest.raises(ShutDown):
            items.get(*arguments)


def test_others_that_wait_are_told(ctx):
    items, results = ctx.Queue(), ctx.Queue()
    children = [ctx.Process(target=take_all, args=(items, results)) for _ in range(2)]
    for child in children:
        child.start()
    items.put("a")
    assert results.get(timeout=60) == "a"
    items.shutdown()
    assert [results.get(timeout=60), results.get(timeout=60)] == ["end", "end"]
    for child in children:
        child.join()


def put_until_the_end(items, results):
    try:
        while True:
            items.put("item")
            results.put("put")
    except ShutDown:
        results.put("end")


def test_who_waits_for_room_is_told(ctx):
    items, results = ctx.Queue(1), ctx.Queue()
    child = ctx.Process(target=put_until_the_end, args=(items, results))
    child.start()
    assert results.get(timeout=60) == "put"
    items.shutdown()
    assert results.get(timeout=60) == "end"
    child.join()
    assert items.get() == "item"


@KINDS
def test_immediately(ctx, kind):
    items = getattr(ctx, kind)()
    for number in range(3):
        items.put(number)
    items.shutdown(immediate=True)
    assert items.qsize() == 0
    with pytest.raises(ShutDown):
        items.get()
    if kind == "JoinableQueue":
        items.join()
        with pytest.raises(ValueError):
            items.task_done()


def test_what_was_taken_before_is_still_to_be_done(ctx):
    items = ctx.JoinableQueue()
    items.put(1)
    items.put(2)
    assert items.get() == 1
    items.shutdown(immediate=True)
    items.task_done()
    items.join()


def test_a_full_queue_that_is_shut_down(ctx):
    items = ctx.Queue(1)
    items.put(1)
    with pytest.raises(queue.Full):
        items.put([2], False)
    items.shutdown()
    with pytest.raises(ShutDown):
        items.put([2], False)
