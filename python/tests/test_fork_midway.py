"""A process that is forked while another thread is in the midst of something for the first time does not wait for that thread.

What is found out once (a class of another module, a name that is interned) must not be guarded by a lock that a thread can
hold while it lets go of the interpreter: the forked process has the lock, and not the thread.
"""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, itertools, operator, os, signal, sys, threading, warnings

{before}

def forks():
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

warnings.simplefilter("ignore")
# Whoever wants the interpreter says so at once, and gets it as soon as it is let go of.
sys.setswitchinterval(1e-6)
statuses = []
begin = threading.Lock()
begin.acquire()
thread = threading.Thread(target=forks)
thread.start()
# Functions in C alone: in between, nobody is asked to let go of the interpreter. Nothing waits for what the pause is for: that
# the other thread is there in time. The pause keeps the interpreter.
pause = ctypes.PyDLL(None).usleep
try:
    list(itertools.starmap(operator.call, [(begin.release,), (pause, 100_000), {steps}]))
except ({expected}):
    pass
thread.join()
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
    program = PROGRAM.format(before=before, steps=steps, forked=forked, expected=expected, without=without)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
