"""Processes: their results, their ends, and what becomes of daemons."""

import os
import select
import signal
import sys
import threading
import traceback

import pytest

import allcores.multiprocessing as mp


def double(number):
    return number * 2


def nothing():
    pass


def big(size):
    return b"x" * size


def fail():
    raise KeyError("lost")


def unpicklable():
    return threading.Lock()


class Stubborn(Exception):
    def __reduce__(self):
        raise TypeError("no")


def raise_unpicklable():
    raise Stubborn("as it is")


def end_by_exit(code):
    sys.exit(code)


def end_at_once(code):
    os._exit(code)


def end_by_signal(number):
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)


def interrupted():
    raise KeyboardInterrupt


def wait_until_interrupted(ready):
    try:
        ready.send(None)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return "interrupted"


def wait_for_ever(ready):
    ready.send(os.getpid())
    while True:
        signal.pause()


def names():
    return mp.current_process().name, mp.parent_process().pid, mp.get_start_method()


def with_buffer():
    numpy = pytest.importorskip("numpy")
    return numpy.arange(100_000)


def run(ctx, target, *args, **options):
    process = ctx.Process(target=target, args=args, **options)
    process.start()
    return process


@pytest.mark.parametrize("size", [0, 10, 70_000, 3_000_000])
def test_results(ctx, size):
    assert run(ctx, double, 21).result() == 42
    assert run(ctx, nothing).result() is None
    process = run(ctx, big, size)
    # It ends although nobody has taken the result.
    process.join()
    assert process.exitcode == 0
    assert process.result() == b"x" * size
    assert process.result() is process.result()


def test_result_with_a_large_buffer(ctx):
    numpy = pytest.importorskip("numpy")
    array = run(ctx, with_buffer).result()
    assert (array == numpy.arange(100_000)).all()
    array[0] = 7
    assert array[0] == 7


class Overridden(mp.Process):
    def run(self):
        return "mine"


def test_result_of_an_overridden_run():
    process = Overridden()
    process.start()
    assert process.result() == "mine"


def test_error_is_raised_with_the_remote_traceback(ctx, capfd):
    process = run(ctx, fail)
    with pytest.raises(KeyError, match="lost") as caught:
        process.result()
    assert process.exitcode == 1
    assert "in fail" in "".join(traceback.format_exception(caught.value))
    # As the interpreter's processes do. (The fork server writes to where this test's first process wrote.)
    if ctx.get_start_method() != "forkserver":
        assert "KeyError: 'lost'" in capfd.readouterr().err


def test_unpicklable_result_fails_the_result_alone(ctx, capfd):
    process = run(ctx, unpicklable)
    with pytest.raises(mp.ProcessError, match="cannot be pickled"):
        process.result()
    assert process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_unpicklable_error(ctx):
    with pytest.raises(mp.ProcessError, match="(?s)cannot be pickled.*as it is"):
        run(ctx, raise_unpicklable).result()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_child_has_no_result(ctx, number):
    process = run(ctx, end_by_signal, number)
    with pytest.raises(mp.ProcessError, match=rf"{number.name} \(exit code {-number}\)"):
        process.result()
    assert process.exitcode == -number


def test_ends_without_a_result(ctx):
    assert run(ctx, end_by_exit, 0).result() is None
    for target, code in ((end_by_exit, 3), (end_at_once, 4), (end_at_once, 0)):
        process = run(ctx, target, code)
        with pytest.raises(mp.ProcessError, match=f"exit code {code}"):
            process.result()
        assert process.exitcode == code


def test_keyboard_interrupt_of_the_child_does_not_end_the_parent(ctx):
    with pytest.raises(mp.ProcessError, match="KeyboardInterrupt"):
        run(ctx, interrupted).result()


def test_timeout_and_interrupt(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    process = run(ctx, wait_until_interrupted, writer)
    reader.recv()
    with pytest.raises(mp.TimeoutError):
        process.result(timeout=0)
    process.interrupt()
    assert process.result() == "interrupted"


def test_exception_is_what_result_raises(ctx):
    assert run(ctx, double, 21).exception() is None
    process = run(ctx, fail)
    error = process.exception()
    assert type(error) is KeyError and error.__traceback__ is None
    assert process.exception() is error
    killed = run(ctx, end_by_signal, signal.SIGKILL).exception()
    assert isinstance(killed, mp.ProcessError) and "SIGKILL" in str(killed)


def test_no_exception_of_what_has_not_ended(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    process = run(ctx, wait_until_interrupted, writer)
    reader.recv()
    with pytest.raises(mp.TimeoutError):
        process.exception(timeout=0)
    process.interrupt()
    assert process.exception() is None


def test_misuse(ctx):
    process = ctx.Process(target=nothing)
    with pytest.raises(AssertionError):
        process.result()
    process.start()
    process.join()
    process.close()
    with pytest.raises(ValueError):
        process.result()


def test_child_knows_who_it_is(ctx):
    process = run(ctx, names, name="somebody")
    assert process.result() == ("somebody", os.getpid(), ctx.get_start_method())


DAEMON = """
import os, signal, sys
from allcores import multiprocessing as mp

def child(writer):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    writer.send(os.getpid())
    while True:
        signal.pause()

def start_from_a_thread(ctx, writer):
    ctx.Process(target=child, args=(writer,), daemon=True).start()

if __name__ == "__main__":
    import threading
    ctx = mp.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(duplex=False)
    thread = threading.Thread(target=start_from_a_thread, args=(ctx, writer))
    thread.start()
    thread.join()
    pid = reader.recv()
    # It outlives the thread that started it, and not this process.
    os.kill(pid, 0)
    print(pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_daemon_ends_with_a_killed_parent(start_method, run_script):
    ended = run_script(DAEMON, start_method)
    assert ended.code == -signal.SIGKILL, ended.describe()
    try:
        daemon = os.pidfd_open(int(ended.stdout))
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    # For ever, if it has not been ended.
    poll.poll()
    os.close(daemon)


def _read_all(depth):
    text = sys.stdin.read()
    if depth == 0 or text:
        return [text]
    below = mp.get_context("fork").Process(target=_read_all, args=(depth - 1,))
    below.start()
    return [text, *below.result(90)]


def test_forked_children_and_theirs_read_from_nowhere():
    fork = mp.get_context("fork")
    for _ in range(2):
        process = fork.Process(target=_read_all, args=(2,))
        process.start()
        assert process.result(100) == ["", "", ""]
