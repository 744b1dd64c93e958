"""Thread and Timer."""

import _thread
import abc
import gc
import threading as stock
import weakref

import pytest

import allcores.threading as threading


class Local:
    """Something that can be seen to be gone."""


@pytest.fixture(autouse=True)
def quiet_hook():
    """What the hook for exceptions was called with; it prints nothing."""
    heard = []
    hook, threading.excepthook = threading.excepthook, lambda args: heard.append((args.exc_type, args.thread))
    yield heard
    threading.excepthook = hook


def test_the_result_of_a_target_and_of_run():
    thread = threading.Thread(target=divmod, args=(7, 4), name="w")
    thread.start()
    assert thread.result() == thread.result(timeout=60) == (1, 3)
    assert thread.exception() is None and thread.name == "w" and not thread.is_alive()

    class Own(threading.Thread):
        def run(self):
            return threading.current_thread() is self and self.native_id == threading.get_native_id()

    own = Own()
    assert own.ident is own.native_id is None
    own.start()
    assert own.result() is True


def test_an_exception_is_kept_without_frames_and_told_to_the_hook(quiet_hook):
    seen = []

    def fail():
        local = Local()
        seen.append(weakref.ref(local))
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ExceptionGroup("all", [ValueError("a"), OSError(2, "b")]) from error

    thread = threading.Thread(target=fail)
    thread.start()
    error = thread.exception()
    assert quiet_hook == [(ExceptionGroup, thread)]
    gc.collect()
    assert seen[0]() is None
    assert repr(error.__cause__) == "KeyError('first')" and error.__cause__.__traceback__ is None
    assert [repr(part) for part in error.exceptions] == ["ValueError('a')", "FileNotFoundError(2, 'b')"]
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            thread.result()
    assert thread.exception().__traceback__ is None


def test_an_exception_that_cannot_be_copied_is_kept_itself():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    def fail():
        raise Odd(1, 2)

    thread = threading.Thread(target=fail)
    thread.start()
    assert thread.exception().__traceback__ is None
    with pytest.raises(Odd, match="1 2"):
        thread.result()
    with pytest.raises(SystemExit):
        leaving = threading.Thread(target=exit, args=(3,))
        leaving.start()
        leaving.result()


def test_a_result_that_is_not_there_yet():
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(60,))
    with pytest.raises(RuntimeError):
        thread.result()
    thread.start()
    with pytest.raises(TimeoutError):
        thread.result(0.001)
    with pytest.raises(TimeoutError):
        thread.exception(timeout=0)
    with pytest.raises(RuntimeError):
        thread.start()
    go.set()
    assert thread.result() is True


def test_a_thread_that_ends_just_after_the_wait_for_it():
    go = threading.Event()

    class Late(threading.Thread):
        def is_alive(self):
            go.set()
            self.join()
            return super().is_alive()

    thread = Late(target=go.wait)
    thread.start()
    assert thread.result(0) is True


def test_join_takes_what_the_interpreters_takes_of_a_thread_that_has_ended():
    class Unmade(threading.Thread):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError, match="__init__"):
        Unmade().join()
    thread = threading.Thread(target=int)
    with pytest.raises(RuntimeError, match="before it is started"):
        thread.join()
    thread.start()
    while thread in threading.enumerate():
        pass
    # Nobody has looked yet, and then somebody has.
    with pytest.raises(TypeError):
        thread.join("soon")
    for timeout in (None, None, 0, -1, 60):
        assert thread.join(timeout) is None and not thread.is_alive()
    with pytest.raises(TypeError):
        thread.join("soon")


def test_threads_of_which_nobody_sees_the_end_leave_nothing():
    if not hasattr(stock, "_shutdown_locks"):
        pytest.skip("since 3.13 the interpreter itself keeps account")
    before = len(stock._shutdown_locks)
    for _ in range(100):
        thread = threading.Thread(target=int)
        thread.start()
        lock = thread._tstate_lock
        # Not by is_alive() or join(), which see it.
        with lock:
            pass
    assert len(stock._shutdown_locks) <= max(before, 32) + 1
    seen = threading.Thread(target=int)
    seen.start()
    lock = seen._tstate_lock
    seen.join()
    assert lock not in stock._shutdown_locks and seen._tstate_lock is None


def test_a_thread_tells_the_hook_that_there_is_when_it_fails(quiet_hook, capsys):
    threading.excepthook = threading.__excepthook__
    early = threading.Thread(target=int, args=("x",))
    other = threading.Thread(target=int, args=("y",))
    other.start()
    other.join()
    told = capsys.readouterr().err
    assert other.name in told and "invalid literal" in told and "'y'" in told
    # Not what there was when it was made.
    heard = []
    threading.excepthook = lambda args: heard.append((args.exc_type, args.thread))
    early.start()
    assert isinstance(early.exception(), ValueError)
    assert heard == [(ValueError, early)] and not quiet_hook


def test_a_thread_lets_go_of_its_arguments():
    local = Local()
    reference = weakref.ref(local)
    thread = threading.Thread(target=id, args=(local,))
    del local
    thread.start()
    thread.join()
    assert reference() is None


def test_every_thread_of_the_interpreter_is_one():
    earlier = stock.Thread()
    assert isinstance(threading.main_thread(), threading.Thread)
    assert isinstance(earlier, threading.Thread)
    assert isinstance(stock.Timer(1, print), threading.Timer)
    assert issubclass(stock.Thread, threading.Thread) and issubclass(threading.Thread, stock.Thread)
    assert not isinstance(5, threading.Thread) and not issubclass(int, threading.Thread)

    dummy = []
    done = threading.Semaphore(0)
    _thread.start_new_thread(lambda: (dummy.append(threading.current_thread()), done.release()), ())
    done.acquire()
    assert isinstance(dummy[0], threading.Thread)

    class Mine(threading.Thread):
        pass

    assert isinstance(Mine(), Mine) and isinstance(Mine(), stock.Thread)
    assert not isinstance(earlier, Mine) and not issubclass(stock.Thread, Mine)


def test_a_thread_may_be_an_abstract_base_class():
    class Work(threading.Thread, abc.ABC):
        @abc.abstractmethod
        def run(self): ...

    class Done(Work):
        def run(self):
            return 1

    with pytest.raises(TypeError):
        Work()
    thread = Done()
    thread.start()
    assert thread.result() == 1


def test_a_timer_has_the_result_of_its_call_unless_it_is_cancelled():
    timer = threading.Timer(0.001, divmod, (7,), {})
    timer.args = (7, 2)
    timer.start()
    assert timer.result() == (3, 1) and timer.finished.is_set()
    cancelled = threading.Timer(60, pytest.fail)
    cancelled.start()
    cancelled.cancel()
    assert cancelled.result() is None
    assert isinstance(timer, stock.Timer)


def test_the_hooks_are_the_interpreters():
    assert threading.excepthook is stock.excepthook
    traced = []
    threading.settrace(lambda frame, event, argument: traced.append(event))
    try:
        assert threading.gettrace() is stock.gettrace()
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    finally:
        threading.settrace(None)
    assert "call" in traced


def test_every_name_of_the_interpreters_module_is_there():
    assert threading.__all__ == stock.__all__
    for name in dir(stock):
        assert hasattr(threading, name), name
    with pytest.raises(AttributeError):
        threading.no_such_name
    assert threading._active is stock._active and threading._main_thread is stock.main_thread()
    namespace = {}
    exec("from allcores.threading import *", namespace)
    assert set(stock.__all__) <= set(namespace)
