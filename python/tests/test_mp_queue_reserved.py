"""`queue._rlock`: a process that holds it is alone with the items, as pools expect it when they end."""

import threading
from queue import Empty

import pytest
from asleep import sleeps, until_asleep
from queue_kit import PATIENCE, ended_well, start

KINDS = ["Queue", "JoinableQueue", "SimpleQueue"]


def get_and_tell(box, told):
    told.send("ready")
    told.send(box.get())


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_else_gets_while_it_is_held(ctx, kind):
    box = getattr(ctx, kind)()
    mine, told = ctx.Pipe()
    process = start(ctx, get_and_tell, box, told)
    assert mine.recv() == "ready"
    until_asleep(process.pid)
    # It is free although somebody waits for an item.
    with box._rlock:
        assert box._rlock.locked()
        slept = sleeps(process.pid)
        box.put(0)
        # Woken, it does not take what it was woken for, and sleeps again.
        until_asleep(process.pid, slept)
        for number in range(3):
            assert box._reader.poll()
            assert box._reader.recv() == number
            box.put(number + 1)
        assert box._reader.recv() == 3
        box.put("theirs")
        assert not mine.poll()
    assert not box._rlock.locked()
    assert mine.recv() == "theirs"
    ended_well(process)


def try_to_get(box, told):
    answers = []
    for way in ((False,), (True, 0.001), (True, -1)):
        try:
            answers.append(box.get(*way))
        except Empty:
            answers.append("nothing")
    told.send(answers)
    told.send(box._rlock.acquire(False) or box._rlock.acquire(timeout=0.001) or box._rlock.acquire(True, -1))
    told.recv()
    told.send(box.get(False))


def test_others_may_look_and_run_out_of_time(ctx):
    box = ctx.Queue()
    box.put(1)
    mine, told = ctx.Pipe()
    assert box._rlock.acquire() is True
    process = start(ctx, try_to_get, box, told)
    assert mine.recv() == ["nothing"] * 3
    assert mine.recv() is False
    box._rlock.release()
    mine.send("now")
    assert mine.recv() == 1
    ended_well(process)
    with pytest.raises(ValueError, match="released too many times"):
        box._rlock.release()


def hold_and_wait(box, told):
    box._rlock.acquire()
    told.send("held")
    threading.Event().wait()


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_with_its_holder(ctx, kind):
    box = getattr(ctx, kind)()
    mine, told = ctx.Pipe()
    process = start(ctx, hold_and_wait, box, told)
    assert mine.recv() == "held"
    box.put(1)
    got = []
    # Asleep when the holder dies, or not yet: both must end.
    getter = threading.Thread(target=lambda: got.append(box.get()), daemon=True)
    getter.start()
    process.kill()
    process.join()
    getter.join(PATIENCE)
    assert got == [1]
    with box._rlock:
        box.put(2)
        assert box.get() == 2


def release(lock, told):
    lock.release()
    told.send(lock.locked())


def test_it_travels_alone_and_anybody_may_release_it(ctx):
    box = ctx.SimpleQueue()
    mine, told = ctx.Pipe()
    assert box._rlock.acquire() and "held" in repr(box._rlock)
    process = start(ctx, release, box._rlock, told)
    assert mine.recv() is False
    assert "free" in repr(box._rlock)
    ended_well(process)


def test_a_shutdown_waits_for_whoever_is_alone_with_the_items(ctx):
    box = ctx.JoinableQueue()
    for number in range(3):
        box.put(number)
    mine, told = ctx.Pipe()
    process = start(ctx, hold_and_wait, box, told)
    assert mine.recv() == "held"
    ended = threading.Thread(target=box.shutdown, args=(True,), daemon=True)
    ended.start()
    process.kill()
    ended.join(PATIENCE)
    assert not ended.is_alive() and box.qsize() == 0
    box.join()
    process.join()
