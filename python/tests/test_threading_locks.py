"""Lock, RLock, Semaphore, Event and Barrier: what CPython's own tests leave out."""

import contextlib
import copy
import gc
import pickle
import weakref

import pytest

import allcores.threading as threading

MAKERS = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Condition": threading.Condition,
    "Semaphore": threading.Semaphore,
    "BoundedSemaphore": threading.BoundedSemaphore,
    "Event": threading.Event,
    "Barrier": lambda: threading.Barrier(2),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def in_thread(function, *args):
    """What `function` does in a thread of its own."""
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread.result()


def raised_by(function):
    try:
        function()
    except Exception as error:
        return error


@each
def test_a_weak_reference_dies_with_its_object(make):
    primitive = make()
    gone = []
    reference = weakref.ref(primitive, gone.append)
    assert reference() is primitive
    del primitive
    assert reference() is None and gone == [reference]


@each
def test_it_cannot_be_copied_or_pickled(make):
    primitive = make()
    with pytest.raises(TypeError):
        pickle.dumps(primitive)
    with pytest.raises(TypeError):
        copy.copy(primitive)


@each
def test_it_says_that_it_is_of_threading(make):
    assert type(make()).__module__ == "threading"
    assert repr(make())


@each
def test_a_subclass_has_attributes_and_an_init_of_its_own(make):
    kind = type(make())
    if kind is threading.Lock:
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
        return

    class Derived(kind):
        def __init__(self, label, *args):
            super().__init__(*args)
            self.label = label

    derived = Derived("a", 3) if kind is threading.Barrier else Derived("a")
    assert derived.label == "a" and isinstance(derived, kind)
    derived.me = derived
    reference = weakref.ref(derived)
    del derived
    gc.collect()
    assert reference() is None


def test_a_condition_and_a_lock_that_know_each_other_are_collected():
    class Lock:
        acquire = release = None

    lock = Lock()
    lock.condition = threading.Condition(lock)
    lock.enter = lock.condition.__enter__
    reference = weakref.ref(lock)
    del lock
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition])
def test_arguments_of_acquire(make):
    lock = make()
    assert lock.acquire(True, 5) and lock.locked()
    assert in_thread(lock.acquire, False) is False
    assert in_thread(lock.acquire, 0) is False
    assert in_thread(lambda: lock.acquire(timeout=0)) is False
    assert in_thread(lambda: lock.acquire(blocking=True, timeout=0.001)) is False
    lock.release()
    assert not lock.locked()
    for error, args, named in [
        (ValueError, (False, 1), {}),
        (ValueError, (), {"timeout": -2}),
        (ValueError, (), {"timeout": float("nan")}),
        (OverflowError, (), {"timeout": 1e100}),
        (OverflowError, (), {"timeout": 10**400}),
        (TypeError, (), {"timeout": "1"}),
        (TypeError, (), {"timeout": None}),
        (TypeError, (True, 1, 2), {}),
        (TypeError, (True,), {"blocking": True}),
        (TypeError, (), {"block": True}),
    ]:
        with pytest.raises(error):
            lock.acquire(*args, **named)
        assert not lock.locked()


def test_enter_and_exit_can_be_had_without_with():
    lock = threading.Lock()
    enter, leave = lock.__enter__, lock.__exit__
    again = lock.__enter__
    assert enter() is True and lock.locked()
    leave(None, None, None)
    assert again() is True
    with pytest.raises(RuntimeError):
        leave(None, None, None)
        leave(None, None, None)
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(lock) is True and lock.locked()
    assert not lock.locked()
    assert threading.Lock.__enter__(lock) is True
    with pytest.raises(TypeError):
        threading.Lock.__enter__(threading.RLock())
    with pytest.raises(TypeError):
        threading.Lock.__enter__()


def test_an_object_lives_as_long_as_its_bound_enter():
    enter = threading.Lock().__enter__
    lock = enter.__self__
    assert enter() and lock.locked()
    lock.release()
    reference = weakref.ref(lock)
    del lock, enter
    assert reference() is None


def test_rlock_is_released_as_often_as_it_was_taken():
    lock = threading.RLock()
    assert lock.acquire() and lock.acquire()
    assert lock._recursion_count() == 2 and "count=2" in repr(lock)
    assert f"owner={threading.get_ident()}" in repr(lock)
    state = lock._release_save()
    assert not lock.locked() and in_thread(lambda: lock.acquire(False) and lock.release()) is None
    lock._acquire_restore(state)
    assert lock._recursion_count() == 2
    assert isinstance(in_thread(raised_by, lock.release), RuntimeError)
    lock.release()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_with_releases_a_semaphore_by_the_release_of_a_subclass():
    class Counting(threading.BoundedSemaphore):
        released = 0

        def release(self, n=1):
            self.released += 1
            super().release(n)

    semaphore = Counting(1)
    with semaphore:
        assert semaphore._value == 0
    assert semaphore.released == 1 and semaphore._value == 1


def test_a_bounded_semaphore_has_a_bound():
    semaphore = threading.BoundedSemaphore(2)
    for n in (1, 2, 5, 2**31, 2**40):
        with pytest.raises(ValueError):
            semaphore.release(n)
        assert semaphore._value == 2
    assert semaphore.acquire() and semaphore.acquire() and not semaphore.acquire(False)
    with pytest.raises(ValueError):
        semaphore.release(3)
    semaphore.release(2)
    assert semaphore._value == semaphore._initial_value == 2


def test_what_a_semaphore_refuses():
    with pytest.raises(ValueError):
        threading.Semaphore(-1)
    with pytest.raises(TypeError):
        threading.Semaphore("1")
    with pytest.raises(OverflowError):
        threading.Semaphore(2**31)
    semaphore = threading.Semaphore(0)
    with pytest.raises(ValueError):
        semaphore.acquire(False, timeout=1)
    with pytest.raises(ValueError):
        semaphore.release(0)
    with pytest.raises(OverflowError):
        semaphore.release(2**31)
    assert semaphore._value == 0
    assert semaphore.acquire(timeout=0) is semaphore.acquire(timeout=-1) is False
    assert semaphore.acquire(timeout=0.001) is False


def test_an_event_that_is_cleared_at_once_wakes_all_the_same():
    event = threading.Event()
    ready = threading.Semaphore(0)

    def wait():
        ready.release()
        return event.wait(100)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
        ready.acquire()
    while any(thread.is_alive() for thread in threads):
        event.set()
        event.clear()
    assert [thread.result() for thread in threads] == [True] * 3
    assert event.wait(0) is event.wait(-1) is event.wait(timeout=0.001) is False


def test_the_action_of_a_barrier_runs_once_and_its_error_breaks_the_barrier():
    ran = []
    barrier = threading.Barrier(2, action=lambda: ran.append(barrier.n_waiting) or 1 / len(ran[1:] or [1]))
    thread = threading.Thread(target=barrier.wait)
    thread.start()
    assert sorted([barrier.wait(), thread.result()]) == [0, 1]
    assert len(ran) == 1

    def fail():
        raise KeyError("action")

    broken = threading.Barrier(1, fail)
    with pytest.raises(KeyError):
        broken.wait()
    assert broken.broken and "broken" in repr(broken)
    with pytest.raises(threading.BrokenBarrierError):
        broken.wait()
    broken.reset()
    assert not broken.broken
    for parties in (0, -1):
        with pytest.raises(ValueError):
            threading.Barrier(parties)
