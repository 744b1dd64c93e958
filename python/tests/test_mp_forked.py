"""A forked child is, from its first moment to its last, what the interpreter's own would be."""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, signal, sys, threading
from multiprocessing import process, util

import {package} as mp

ctx = mp.get_context("fork")


def say(*words):
    # At once: what several processes say stays apart.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()


class Remembered:
    pass


remembered = Remembered()
util.register_after_fork(remembered, lambda it: say("after fork", type(it).__name__, mp.current_process().name))
util.Finalize(None, say, ("never: finalizer of the parent",), exitpriority=10) if {inherited} else None
atexit.register(say, "parent's atexit", os.getpid() == os.getpid())


def look(depth):
    say(depth, mp.current_process().name, mp.parent_process().name, process.active_children(), mp.get_start_method())
    say(repr(sys.stdin.read()), sys.stdin.encoding, sys.stdin.closed, sys.__stdin__.closed, sys.stdin.fileno() > 2)
    try:
        sys.__stdin__.readline()
    except ValueError as error:
        say(error)
    # The descriptor itself is as it was.
    say(os.readlink("/proc/self/fd/0") == {stdin!r})
    say(threading.main_thread().native_id == threading.get_native_id(), threading.active_count())
    util.Finalize(None, say, ("finalizer 1",), exitpriority=1)
    util.Finalize(None, say, ("finalizer 2",), exitpriority=2)
    util.Finalize(None, say, ("finalizer -1",), exitpriority=-1)
    atexit.register(say, "atexit of the child", mp.current_process().name)
    if depth:
        one = ctx.Process(target=look, args=(depth - 1,), name="inner")
        one.start()
        one.join()
        say(one.exitcode)


def late():
    done = threading.Event()

    def thread():
        done.wait()
        say("late thread")

    threading.Thread(target=thread).start()
    threading.Thread(target=done.wait, daemon=True).start()
    atexit.register(say, "late atexit")
    util.Finalize(None, done.set, exitpriority=0)
    if {set_at_once}:
        done.set()


def with_children():
    reader, writer = os.pipe()

    def wait():
        os.write(writer, b"!")
        signal.pause()

    ctx.Process(target=wait, daemon=True).start()
    os.read(reader, 1)
    ctx.Process(target=say, args=("a child that was not joined",)).start()


def end(how):
    print("unflushed", end=" ")
    if how == "error":
        raise KeyError("lost")
    if how == "finalizer":
        util.Finalize(None, lambda: 1 / 0, exitpriority=1)
        return
    if how == "atexit":
        atexit.register(lambda: 1 / 0)
        return
    sys.exit(how)


def each():
    for target, *args in [(look, 2), (late,), (with_children,), *((end, how) for how in {ends!r})]:
        one = ctx.Process(target=target, args=args, name=target.__name__)
        one.start()
        one.join()
        say(target.__name__, args, one.exitcode)
        sys.stderr.flush()


each()
# From a thread that is not the main one, which the child then takes for its main one.
thread = threading.Thread(target=each)
thread.start()
thread.join()
# Without a standard input, and with somebody else's.
import io

for other in (None, io.StringIO("mine")):
    sys.stdin = other
    one = ctx.Process(target=lambda: say(sys.stdin and repr(sys.stdin.read())))
    one.start()
    one.join()
    say(one.exitcode)
"""
ENDS = ["error", "finalizer", "atexit", 0, 7, None, "text"]


def outcome(package, python, tmp_path, inherited):
    stdin = tmp_path / "stdin"
    stdin.write_text("a line\nanother\n")
    program = PROGRAM.format(
        package=package, stdin=str(stdin), inherited=inherited, ends=ENDS, set_at_once=sys.version_info >= (3, 13)
    )
    path = tmp_path / "program.py"
    path.write_text(program)
    options = ["-W", "ignore"]
    with open(stdin) as file:
        ran = subprocess.run([python, *options, str(path)], stdin=file, capture_output=True, text=True, timeout=60)
    # Frames below the program's own are those of whoever called it.
    kept = [re.sub("0x[0-9a-f]+", "", line) for line in ran.stderr.splitlines() if not line.startswith(("  File", "    ", "    ~"))]
    return ran.returncode, ran.stdout, kept


@pytest.mark.parametrize("inherited", [False, True])
def test_as_the_interpreters_own(tmp_path, inherited):
    stock = outcome("multiprocessing", sys.executable, tmp_path, inherited)
    ours = outcome("allcores.multiprocessing", sys.executable, tmp_path, inherited)
    assert "late thread" in stock[1]
    assert ours[1].splitlines() == stock[1].splitlines()
    assert ours == stock


REUSED = """
import os
import allcores.multiprocessing as mp

ctx = mp.get_context("fork")


def look():
    import sys

    return sys.stdin.read()


def one():
    process = ctx.Process(target=look)
    process.start()
    return process.result()


assert one() == ""
# Whoever closes all descriptors, as daemons do, and opens others.
changed = False
for descriptor in range(3, 40):
    try:
        if os.readlink(f"/proc/self/fd/{descriptor}") == os.devnull:
            with open(__file__) as file:
                os.dup2(file.fileno(), descriptor)
            changed = True
    except FileNotFoundError:
        pass
assert changed
assert one() == ""
"""


def test_standard_input_is_empty_where_its_descriptor_has_become_another_file(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(REUSED)
    ran = subprocess.run([sys.executable, str(path)], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
