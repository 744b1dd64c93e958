"""How one process learns that another sleeps: by the state that the kernel shows to everybody.

Not by the system call that it sleeps in: its number is another on each architecture, and to see it needs leave to trace.
"""

import os


def sleeps(thread="self"):
    """How often a thread has gone to sleep: one of this process (`native_id`), or the main one of another (`pid`)."""
    return look(thread)[1]


def until_asleep(thread, after=0):
    """Returns when a thread sleeps, and has gone to sleep more than `after` times.

    Of the main thread of another process whose other threads run no Python code, and that has nothing else to wait for, it says
    that it is in the wait that it was about to begin. A thread of this process may be waiting for the interpreter.
    """
    while True:
        state, count = look(thread)
        if state == "S" and count > after:
            return
        os.sched_yield()


def look(thread):
    """A thread's state (`S`: it sleeps), and how often it has given up its processor of itself."""
    with open(f"/proc/{thread}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return fields["State"].split()[0], int(fields["voluntary_ctxt_switches"])


def signal_when_asleep(number):
    """Forks a process that sends us a signal, once, as soon as we sleep. To be called immediately before the wait.

    Returns its pid.
    """
    reader, writer = os.pipe()
    us = os.getpid()
    pid = os.fork()
    if pid:
        os.close(reader)
        os.write(writer, b"x")
        os.close(writer)
        return pid
    try:
        os.read(reader, 1)
        until_asleep(us)
        # Whoever has died is no longer our parent, and its number may be somebody else's.
        if os.getppid() == us:
            os.kill(us, number)
    finally:
        os._exit(0)
