"""Primitives and threads when a signal comes, the process is forked, or the interpreter ends."""

import os
import signal

import pytest

import allcores.threading as threading
from allcores import OwnerDiedError

WAITS = {
    "Lock": lambda timeout: held(threading.Lock()).acquire(timeout=timeout or -1),
    "RLock": lambda timeout: held(threading.RLock()).acquire(timeout=timeout or -1),
    "with Lock": lambda timeout: held(threading.Lock()).__enter__(),
    "Semaphore": lambda timeout: threading.Semaphore(0).acquire(timeout=timeout),
    "Event": lambda timeout: threading.Event().wait(timeout),
    "Condition": lambda timeout: waited(threading.Condition(), timeout),
    "Condition of a Lock": lambda timeout: waited(threading.Condition(threading.Lock()), timeout),
    "Condition of a stock lock": lambda timeout: waited(threading.Condition(threading._allocate_lock()), timeout),
    "Barrier": lambda timeout: threading.Barrier(2).wait(timeout),
}


def held(lock):
    """The lock, in the hands of a thread that waits for the test's end."""
    taken = threading.Event()

    def hold():
        with lock:
            taken.set()
            over.wait()

    threading.Thread(target=hold, daemon=True).start()
    taken.wait()
    return lock


def waited(condition, timeout):
    with condition:
        try:
            return condition.wait(timeout)
        finally:
            assert not condition._waiting
            assert condition.locked()


over = threading.Event()


@pytest.fixture(autouse=True)
def end_of_test():
    over.clear()
    yield
    over.set()


class Interrupt(Exception):
    pass


@pytest.fixture
def interrupts():
    """Signals come to this thread until a test is over; from the third on the handler raises."""
    count = 0

    def handler(number, frame):
        nonlocal count
        count += 1
        if count == 3:
            raise Interrupt

    def send():
        while not over.wait(0.005):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR2)

    previous = signal.signal(signal.SIGUSR2, handler)
    sender = threading.Thread(target=send)
    yield sender
    over.set()
    sender.join()
    signal.signal(signal.SIGUSR2, previous)


@pytest.mark.parametrize("timeout", [None, 60], ids=["for ever", "timed"])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_signal_handlers_exception_leaves_every_wait(wait, timeout, interrupts):
    interrupts.start()
    with pytest.raises(Interrupt):
        wait(timeout)


def test_a_handler_may_use_what_it_has_interrupted():
    event, semaphore = threading.Event(), threading.Semaphore(0)
    stop = threading.Event()
    signals = 0

    def handler(number, frame):
        nonlocal signals
        signals += 1
        event.set()
        event.clear()
        semaphore.release()
        semaphore.acquire(False)
        # More, if other signals have come since it was counted.
        if signals >= 300:
            stop.set()

    def send():
        while not stop.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR2)

    previous = signal.signal(signal.SIGUSR2, handler)
    sender = threading.Thread(target=send)
    sender.start()
    while not stop.is_set():
        event.set()
        event.wait(0)
        event.clear()
        semaphore.release()
        semaphore.acquire(False)
        semaphore._value
    sender.join()
    signal.signal(signal.SIGUSR2, previous)


def test_an_rlock_whose_thread_ended_is_told_once_and_free():
    lock = threading.RLock()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    assert thread.result() is True
    for acquire in (lock.acquire, lambda: lock.acquire(False), lambda: lock.acquire(timeout=1), lock.__enter__):
        with pytest.raises(OwnerDiedError):
            acquire()
        assert not lock.locked()
        assert lock.acquire(False) is True
        lock.release()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join()


def test_a_lock_whose_thread_ended_stays_taken():
    lock = threading.Lock()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    assert lock.locked() and lock.acquire(False) is False
    lock.release()
    assert lock.acquire(False) is True


def in_fork(check):
    """Runs `check` in a forked child; its exception is raised here."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition])
def test_what_a_vanished_thread_held_is_told_once_in_a_forked_child(make):
    lock, entered = held(make()), held(make())

    def check():
        with pytest.raises(OwnerDiedError):
            lock.acquire()
        assert lock.acquire(False) is True
        lock.release()
        with pytest.raises(OwnerDiedError):
            entered.__enter__()
        with entered:
            pass

    in_fork(check)
    assert lock.acquire(False) is False


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_what_the_forking_thread_held_stays_its_own():
    lock, recursive, condition = threading.Lock(), threading.RLock(), threading.Condition()
    other = held(threading.Lock())
    event = threading.Event()
    event.set()

    def check():
        lock.release()
        assert recursive._recursion_count() == 2
        recursive.release()
        assert condition._is_owned() and condition.wait(0.001) is False
        other._at_fork_reinit()
        assert other.acquire(False)
        event._at_fork_reinit()
        assert event.is_set()
        assert threading.active_count() == 1

    with lock, recursive, recursive, condition:
        in_fork(check)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_thread_that_vanished_has_no_result():
    thread = threading.Thread(target=over.wait)
    thread.start()

    def check():
        assert not thread.is_alive()
        thread.join()
        with pytest.raises(OwnerDiedError):
            thread.result()

    in_fork(check)


def test_ctrl_c_ends_a_program_that_waits(run_script):
    program = """
        import signal
        import allcores.threading as threading
        from asleep import signal_when_asleep

        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal_when_asleep(signal.SIGINT)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("left")
    """
    assert run_script(program).ok() == "left\n"


