"""Condition with every kind of lock."""

import multiprocessing
import threading as stock

import pytest

import allcores.threading as threading


class Bare:
    """A lock with nothing but the two methods that a Condition needs."""

    def __init__(self):
        self._lock = stock.Lock()
        self.acquire = self._lock.acquire
        self.entered = 0

    def release(self):
        self._lock.release()

    def __enter__(self):
        self.entered += 1
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()


class Derived(threading.RLock):
    """A lock of ours of which anything may have been overridden."""

    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1
        super().release()

    def __exit__(self, *exc_info):
        self.release()


LOCKS = {
    "none": lambda: None,
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "stock Lock": stock.Lock,
    "stock RLock": stock.RLock,
    "bare": Bare,
    "derived": Derived,
    "multiprocessing": multiprocessing.get_context("spawn").Lock,
}
each = pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)


@each
def test_waiters_are_woken_in_turn(make):
    condition = threading.Condition(make())
    waiting = threading.Semaphore(0)
    woken = []

    def wait(number):
        with condition:
            waiting.release()
            assert condition.wait(100)
            woken.append(number)
            waiting.release()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
        waiting.acquire()
    with condition:
        assert len(condition._waiters) == 4 and repr(condition).endswith(", 4)>")
    for number in range(2):
        with condition:
            condition.notify()
        waiting.acquire()
        assert woken == list(range(number + 1))
    with condition:
        condition.notify(0)
        condition.notify_all()
    for thread in threads:
        thread.result()
    assert sorted(woken) == [0, 1, 2, 3]


@each
def test_a_wait_that_times_out_holds_the_lock_again(make):
    condition = threading.Condition(make())
    with condition:
        for timeout in (0, -1, 0.001):
            assert condition.wait(timeout) is False
        assert condition.wait_for(lambda: False, 0.001) is False
        assert condition.wait_for(lambda: 5) == 5
        with pytest.raises(TypeError):
            condition.wait("soon")
        with pytest.raises(TypeError):
            condition.wait(until=1)
        with pytest.raises(TypeError):
            condition.wait(1, 2)
        condition.notify()
        assert condition._waiting == 0


@each
def test_without_the_lock_there_is_nothing_to_wait_or_notify(make):
    condition = threading.Condition(make())
    for call in (condition.wait, condition.notify, condition.notify_all, lambda: condition.notify(2)):
        with pytest.raises(RuntimeError):
            call()


def test_with_uses_the_methods_of_a_lock_that_is_not_ours():
    bare, derived = Bare(), Derived()
    with threading.Condition(bare):
        assert bare.entered == 1
    with threading.Condition(derived):
        assert derived.released == 0
    assert derived.released == 1


def test_an_error_of_a_foreign_lock_is_raised():
    class Failing(Bare):
        def __enter__(self):
            raise KeyError("enter")

        def _is_owned(self):
            raise KeyError("owned")

        def _release_save(self):
            raise KeyError("save")

    condition = threading.Condition(Failing())
    for call in (condition.__enter__, condition.notify, condition.notify_all, condition.wait):
        with pytest.raises(KeyError):
            call()
    condition._is_owned = lambda: True
    with pytest.raises(KeyError):
        condition.wait()
    assert condition._waiting == 0


def test_a_recursive_lock_is_released_in_full_and_held_as_often_again():
    condition = threading.Condition()
    with condition, condition:
        waker = threading.Thread(target=lambda: condition.acquire() and (condition.notify(), condition.release()))
        waker.start()
        assert condition.wait(100)
        assert condition._lock._recursion_count() == 2
    assert not condition.locked()


def test_many_more_waiters_than_there_is_room_for_at_first():
    condition = threading.Condition(threading.Lock())
    waiting = threading.Semaphore(0)

    def wait():
        with condition:
            waiting.release()
            return condition.wait(100)

    threads = [threading.Thread(target=wait) for _ in range(200)]
    for thread in threads:
        thread.start()
    for _ in threads:
        waiting.acquire()
    with condition:
        condition.notify_all()
    assert all(thread.result() for thread in threads)
