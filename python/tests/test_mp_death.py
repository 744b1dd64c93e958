"""Whoever dies holding something: the next one is told, once, and everything goes on."""

import os
import signal
import threading

import pytest

import allcores
from allcores.multiprocessing import synchronize


def hold(lock, held, how):
    lock.acquire()
    held.release()
    if how == "killed":
        signal.pause()
    if how == "os._exit":
        os._exit(3)


def holder(ctx, lock, how):
    held = ctx.Semaphore(0)
    child = ctx.Process(target=hold, args=(lock, held, how))
    child.start()
    assert held.acquire(timeout=100)
    if how == "killed":
        assert not lock.acquire(False)
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("how", ["killed", "os._exit"])
@pytest.mark.parametrize("wait", [{}, {"block": False}, {"timeout": 30}], ids=str)
def test_the_next_one_is_told_once(ctx, kind, how, wait):
    lock = getattr(ctx, kind)()
    child = holder(ctx, lock, how)
    with pytest.raises(allcores.OwnerDiedError) as told:
        lock.acquire(**wait)
    assert told.value.pid == child.pid
    # It is not held, and a release that comes late is one too many.
    with pytest.raises(ValueError if kind == "Lock" else AssertionError):
        lock.release()
    assert lock.acquire(False)
    lock.release()


def test_a_normal_end_leaves_a_lock_taken(ctx):
    lock = ctx.Lock()
    holder(ctx, lock, "normal end")
    assert not lock.acquire(False)
    lock.release()
    assert lock.acquire(False)


def take_late(lock):
    # Not waited for by multiprocessing's end, but by the interpreter's.
    def late():
        threading.main_thread().join()
        lock.acquire()

    threading.Thread(target=late).start()


def test_a_lock_that_a_late_thread_takes_is_left_taken_too(ctx):
    lock = ctx.Lock()
    child = ctx.Process(target=take_late, args=(lock,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert not lock.acquire(False)
    lock.release()
    assert lock.acquire(False)


def test_a_normal_end_loses_an_rlock(ctx):
    lock = ctx.RLock()
    holder(ctx, lock, "normal end")
    with pytest.raises(allcores.OwnerDiedError):
        lock.acquire()
    assert lock.acquire(False)


def test_owned_permits_come_back(ctx):
    owned, plain = ctx.Semaphore(1), None
    owned = synchronize.Semaphore(1, ctx=ctx, owned=True)
    plain = ctx.Semaphore(1)
    holder(ctx, owned, "killed")
    holder(ctx, plain, "killed")
    assert owned.acquire(timeout=100)
    assert not plain.acquire(False)


def notify_and_die(condition, told):
    condition.acquire()
    condition.notify()
    told.set()
    signal.pause()


def test_a_condition_returns_with_the_lock_and_then_raises(ctx):
    condition, told = ctx.Condition(ctx.Lock()), ctx.Event()
    with condition:
        child = ctx.Process(target=notify_and_die, args=(condition, told))
        child.start()

        def kill():
            assert told.wait(100)
            os.kill(child.pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(allcores.OwnerDiedError):
            condition.wait(100)
        assert condition._lock._is_mine()
    thread.join()
    child.join()


def come_and_stay(barrier):
    barrier.wait()


def test_a_dead_party_breaks_the_barrier(ctx):
    barrier = ctx.Barrier(3)
    child = ctx.Process(target=come_and_stay, args=(barrier,))
    child.start()
    outcome = []

    def wait():
        try:
            # Without a time-out, which would break it as well.
            barrier.wait()
        except threading.BrokenBarrierError:
            outcome.append("broken")

    thread = threading.Thread(target=wait)
    thread.start()
    while barrier.n_waiting < 2:
        pass
    os.kill(child.pid, signal.SIGKILL)
    thread.join()
    child.join()
    assert outcome == ["broken"]
