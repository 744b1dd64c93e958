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
        if signals == 300:
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


DAEMONS = """
    import threading as stock

    import allcores.threading as threading
    from allcores import queue

    def held(lock):
        lock.acquire()
        return lock

    class Foreign:
        def __init__(self):
            self._lock = stock.Lock()
            self.acquire, self.release = self._lock.acquire, self._lock.release

        def __enter__(self):
            return self.acquire()

        def __exit__(self, *exc_info):
            self.release()

    def wait_for(condition):
        def wait():
            with condition:
                condition.wait(0.0005)
                condition.notify()
        return wait

    def pass_barrier():
        try:
            barrier.wait(0.0005)
        except threading.BrokenBarrierError:
            barrier.reset()

    def action():
        sum(range(50))

    def start():
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        try:
            thread.result(0.0005)
        except TimeoutError:
            pass

    lock, rlock = held(threading.Lock()), held(threading.RLock())
    semaphore, event = threading.Semaphore(0), threading.Event()
    barrier, alone = threading.Barrier(3), threading.Barrier(1, action)
    shared = threading.Lock()

    def with_lock():
        with shared:
            sum(range(20))

    LOOPS = [
        lambda: lock.acquire(timeout=0.0005),
        lambda: rlock.acquire(timeout=0.0005),
        lambda: semaphore.acquire(timeout=0.0005),
        lambda: event.wait(0.0005),
        wait_for(threading.Condition()),
        wait_for(threading.Condition(threading.Lock())),
        wait_for(threading.Condition(stock.Lock())),
        wait_for(threading.Condition(Foreign())),
        pass_barrier,
        alone.wait,
        with_lock,
        with_lock,
        start,
    ]
    began = threading.Semaphore(0)

    def forever(step):
        step()
        began.release()
        while True:
            step()

    for step in LOOPS:
        threading.Thread(target=forever, args=(step,), daemon=True).start()
    for _ in LOOPS:
        began.acquire()
"""


@pytest.mark.timeout(1800)
def test_daemons_that_wait_while_the_interpreter_ends(run_script):
    # More with ALLCORES_EXIT_RUNS.
    for _ in range(int(os.environ.get("ALLCORES_EXIT_RUNS", 20))):
        assert run_script(DAEMONS).ok() == ""


def test_ctrl_c_ends_a_program_that_waits(run_script):
    program = """
        import os, signal
        import allcores.threading as threading

        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.05, interrupt).start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("left")
    """
    assert run_script(program).ok() == "left\n"


