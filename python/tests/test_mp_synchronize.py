"""Locks, semaphores, events, conditions and barriers between processes: what CPython's own tests do not ask."""

import gc
import multiprocessing as stock
import os
import pickle
import signal
import threading
import weakref

import pytest

from allcores.multiprocessing import synchronize


def release_when_told(lock, told):
    told.acquire()
    lock.release()


def test_objects_reach_a_child_that_alone_has_them(ctx):
    told = ctx.Semaphore(0)
    lock = ctx.Lock()
    lock.acquire()
    child = ctx.Process(target=release_when_told, args=(lock, told))
    child.start()
    told.release()
    assert lock.acquire(timeout=100)
    child.join()
    assert child.exitcode == 0


def use(*objects):
    for each in objects:
        assert each.acquire(timeout=100)


def test_what_only_the_child_names_lives_until_it_has_it(ctx):
    child = ctx.Process(target=use, args=(ctx.Lock(), ctx.RLock(), ctx.Semaphore(), ctx.BoundedSemaphore(1)))
    child.start()
    gc.collect()
    others = [ctx.Lock() for _ in range(100)]
    assert all(other.acquire(False) for other in others)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_interpreters_own_contexts_carry_them(method):
    context = stock.get_context(method)
    lock, event, barrier = synchronize.Lock(ctx=context), synchronize.Event(ctx=context), synchronize.Barrier(2, ctx=context)
    condition = synchronize.Condition(lock, ctx=context)
    child = context.Process(target=meet, args=(condition, event, barrier))
    child.start()
    assert event.wait(100)
    with condition:
        condition.notify()
    barrier.wait(100)
    child.join()
    assert child.exitcode == 0


def meet(condition, event, barrier):
    with condition:
        event.set()
        assert condition.wait(100)
    barrier.wait(100)


def test_a_forked_child_keeps_what_its_parent_drops():
    lock = synchronize.Lock()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        os._exit(0 if lock.acquire(False) else 7)
    del lock
    others = [synchronize.Lock() for _ in range(200)]
    assert all(other.acquire(False) for other in others)
    os.write(writer, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    os.close(writer)


def test_they_are_inherited_and_not_pickled():
    for each in (synchronize.Lock(), synchronize.Event(), synchronize.Condition(), synchronize.Barrier(1)):
        with pytest.raises(RuntimeError, match="through inheritance"):
            pickle.dumps(each)


def test_bounds():
    bounded = synchronize.BoundedSemaphore(1)
    with pytest.raises(ValueError):
        bounded.release()
    assert bounded.get_value() == 1
    with pytest.raises(ValueError):
        synchronize.Lock().release()
    with pytest.raises(AssertionError):
        synchronize.RLock().release()
    with pytest.raises(OSError):
        synchronize.Semaphore(-1)
    with pytest.raises(TypeError):
        synchronize.Lock().acquire(blok=True)
    with pytest.raises(ValueError):
        synchronize.Barrier(0)


def test_they_are_objects_like_any_other():
    class Mine(synchronize.Lock):
        pass

    lock = Mine()
    lock.note = 1
    assert weakref.ref(lock)() is lock and lock._semlock is lock
    assert isinstance(lock, synchronize.SemLock) and isinstance(synchronize.Barrier(1), threading.Barrier)
    with lock as taken:
        assert taken and lock.locked()
    assert not lock.locked()


def test_a_signal_handler_leaves_every_wait():
    class Interrupt(Exception):
        pass

    heard = []

    def handler(*_):
        # Once a wait: one more may be under way when the wait has been left.
        if not heard:
            heard.append(True)
            raise Interrupt

    lock, condition = synchronize.Lock(), synchronize.Condition()
    lock.acquire()
    waits = [
        lock.acquire,
        synchronize.Semaphore(0).acquire,
        synchronize.Event().wait,
        synchronize.Barrier(2).wait,
        lambda: condition.wait(),
    ]
    pace = threading.Event()

    def disturb():
        # Again and again: a signal in the moment before the sleep does not end it.
        while not heard:
            os.kill(os.getpid(), signal.SIGUSR1)
            pace.wait(0.01)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        for wait in waits:
            condition.acquire()
            heard.clear()
            thread = threading.Thread(target=disturb)
            with pytest.raises(Interrupt):
                thread.start()
                wait()
            # Nothing comes after this, and so nothing meets the old handler, which would end the process.
            thread.join()
            # A wait on a condition returns with the lock, whatever ends it.
            condition.release()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_set_in_a_handler_of_a_thread_that_waits():
    event = synchronize.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: event.set())
    try:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        assert event.wait(100)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("lock", [threading.Lock, threading.RLock, stock.RLock, synchronize.Lock], ids=str)
def test_a_condition_around_any_lock(lock):
    condition = synchronize.Condition(lock())
    with pytest.raises(AssertionError):
        condition.notify()
    seen = []

    def wait():
        with condition:
            seen.append(0)
            condition.notify()
            seen.append(condition.wait(100))

    with condition:
        thread = threading.Thread(target=wait)
        thread.start()
        assert condition.wait(100) and seen == [0]
        condition.notify()
    thread.join()
    assert seen == [0, True]


KINDS = ["event", "queue", "condition", "semaphore", "barrier"]

# The main thread waits, and a child has a signal come to it together with something else.
INTERRUPTED = """
    import os, signal, sys, time
    from allcores import multiprocessing as mp
    from asleep import sleeps, until_asleep

    def interrupt(told):
        told.send("here")
        parent, before = os.getppid(), told.recv()
        if sys.argv[2] == "by one that ends":
            # The second sleep of a wait is the one that listens for deaths.
            until_asleep(parent, before + 1)
        else:
            until_asleep(parent, before)
        os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0))
        os.kill(parent, signal.SIGINT)
        if sys.argv[2] == "by one that ends":
            os._exit(0)
        # The processor is ours until the first sleep's time has passed as well.
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        signal.pause()

    def once(ctx):
        event, queue, condition, semaphore, barrier = ctx.Event(), ctx.SimpleQueue(), ctx.Condition(), ctx.Semaphore(0), ctx.Barrier(2)
        waits = {
            "event": event.wait,
            "queue": queue.get,
            "condition": condition.wait,
            "semaphore": semaphore.acquire,
            "barrier": barrier.wait,
        }
        told, tell = ctx.Pipe()
        child = ctx.Process(target=interrupt, args=(told,), daemon=True)
        condition.acquire()
        child.start()
        tell.recv()
        tell.send(sleeps())
        try:
            waits[sys.argv[1]]()
        except KeyboardInterrupt:
            print("interrupted")
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        child.terminate()
        child.join()

    if __name__ == "__main__":
        # One processor, and no turn for us while the child is busy, or before it has ended.
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        # Where others need the processor, too, the child may come too late for the moment that is meant: then it proves nothing.
        for _ in range(10):
            once(mp.get_context("fork"))
"""


@pytest.mark.parametrize("what", KINDS)
def test_a_signal_of_a_process_that_ends_at_once_is_heard(run_script, what):
    assert run_script(INTERRUPTED, what, "by one that ends").ok() == "interrupted\n" * 10


# The kernel tells of the time alone.
@pytest.mark.parametrize("what", KINDS)
def test_a_signal_that_comes_as_a_sleep_ends_is_heard(run_script, what):
    assert run_script(INTERRUPTED, what, "as a sleep ends").ok() == "interrupted\n" * 10
