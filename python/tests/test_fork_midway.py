"""A process that is forked while another thread is in the midst of something for the first time does not wait for that thread.

What is found out once (a class of another module, a name that is interned) must not be guarded by a lock that a thread can
hold while it lets go of the interpreter: the forked process has the lock, and not the thread.
"""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, itertools, operator, os, signal, sys, threading, warnings

sys.path.append({tests!r})
from asleep import look, until_asleep

{before}

def forks():
    os.write(here_w, threading.get_native_id().to_bytes(8, "little"))
    begin.acquire()
    # The other thread has let go of the interpreter.
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            {forked}
        except ({expected}):
            os._exit(7)
        os._exit({without})
    statuses.append(os.waitpid(pid, 0)[1])

def tell():
    "In a process of its own: when the thread waits for `begin`, and when it wants the interpreter, and has said so."
    main, thread = os.getppid(), int.from_bytes(os.read(here_r, 8), "little")
    os.read(main_r, 1)
    # Asleep at the same time: neither waits for the interpreter, since the other would have it.
    while True:
        asleep = state, before = look(thread)
        if state == "S" and look(main)[0] == "S" and look(thread) == asleep:
            break
        os.sched_yield()
    os.write(ready_w, b"1")
    # It sleeps until the switch interval is over, asks for the interpreter, and sleeps again.
    until_asleep(thread, before + 1)
    os.write(wants_w, b"1")
    os._exit(0)

warnings.simplefilter("ignore")
# Whoever wants the interpreter says so at once, and gets it as soon as it is let go of.
sys.setswitchinterval(1e-6)
statuses = []
begin = threading.Lock()
begin.acquire()
(here_r, here_w), (main_r, main_w), (ready_r, ready_w), (wants_r, wants_w) = [os.pipe() for _ in range(4)]
teller = os.fork()
if teller == 0:
    tell()
thread = threading.Thread(target=forks)
thread.start()
os.write(main_w, b"1")
os.read(ready_r, 1)
# Functions in C alone: in between, nobody is asked to let go of the interpreter, and this read keeps it.
read, told = ctypes.PyDLL(None).read, ctypes.create_string_buffer(1)
try:
    list(itertools.starmap(operator.call, [(begin.release,), (read, wants_r, told, 1), {steps}]))
except ({expected}):
    pass
thread.join()
os.waitpid(teller, 0)
assert statuses == [7 << 8], f"the forked process: {{statuses[0]:#x}}"
"""

# Done before; for the first time, by functions in C alone; by the forked process; how it ends.
FIRST = {
    "a queue between threads": (
        "from allcores.queue import SimpleQueue",
        "(SimpleQueue,)",
        "SimpleQueue()",
        "",
    ),
    "a queue that is empty": (
        "import queue; from allcores.queue import SimpleQueue; empty = SimpleQueue()",
        "(empty.get_nowait,)",
        "empty.get_nowait()",
        "queue.Empty",
    ),
    "a repr": (
        "from allcores.threading import Lock; lock = Lock()",
        "(repr, lock)",
        "repr(lock)",
        "",
    ),
    "an argument of another kind": (
        "from allcores._allcores import SharedQueue",
        "(SharedQueue, 'some', False)",
        "SharedQueue('some', False)",
        "TypeError",
    ),
    "an owner that died": (
        """
from allcores import OwnerDiedError
from allcores.multiprocessing import get_context
mp = get_context("fork")
locks = [mp.RLock() for _ in range(2)]
owner = mp.Process(target=lambda: [lock.acquire() for lock in locks])
owner.start()
owner.join()
""",
        "(locks[0].acquire,)",
        "locks[1].acquire()",
        "OwnerDiedError",
    ),
}


@pytest.mark.parametrize("what", FIRST)
def test_the_forked_process_does_it_as_well(what):
    before, steps, forked, expected = FIRST[what]
    without = 1 if expected else 7
    tests = str(pathlib.Path(__file__).parent)
    program = PROGRAM.format(
        tests=tests, before=before, steps=steps, forked=forked, expected=expected, without=without
    )
    # The fork meets the other thread inside of it more often than not: once of these times.
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
        assert ran.returncode == 0, ran.stdout + ran.stderr
