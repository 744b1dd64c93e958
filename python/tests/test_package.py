"""The package as a whole, and the fixtures that the other tests rest on."""

import os
import signal

import pytest

import allcores


def say(queue, word):
    queue.put((word, os.getpid()))


def test_a_child_of_each_start_method_finds_its_function(ctx, start_method):
    queue = ctx.SimpleQueue()
    child = ctx.Process(target=say, args=(queue, start_method))
    child.start()
    assert queue.get() == (start_method, child.pid)
    child.join()
    assert child.exitcode == 0


def test_a_script_finds_the_package(run_script):
    out = run_script("import allcores, sys; print(allcores.__version__, *sys.argv[1:])", "a", 1).ok()
    assert out == f"{allcores.__version__} a 1\n"


def test_how_a_script_ended_is_told(run_script):
    ended = run_script("import sys; print(input()); sys.exit('why')", stdin="word\n")
    assert (ended.code, ended.stdout, ended.stderr) == (1, "word\n", "why\n")
    killed = run_script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.code == -signal.SIGKILL


def test_a_script_that_hangs_is_killed_with_its_children(run_script):
    code = """
        import os, time
        os.fork()
        print("hung", flush=True)
        time.sleep(10_000)
    """
    # Its output ends only when the last process that holds it is gone.
    for patience in (1, 10, 100):
        with pytest.raises(pytest.fail.Exception, match="still running") as told:
            run_script(code, timeout=patience)
        # A busy machine may not have begun with it.
        if "hung\nhung" in str(told.value):
            return
    pytest.fail(str(told.value))
