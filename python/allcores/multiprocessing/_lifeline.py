"""How a child learns that its parent has ended, however it ended.

A process holds the writing end of one pipe, and nobody else does: not its children, which close it first of all. They
have the other end, which reports the end of the file once the process is gone.
"""

import os

from allcores._allcores import lifeline as reading_end

__all__ = ["end_with", "reading_end"]

# Keeps the descriptor open that ends this process.
_armed = None


def end_with(descriptor):
    """Has the kernel kill this process when the one ends that holds the other end of the pipe.

    No thread, which would forbid this process to fork, and no PR_SET_PDEATHSIG, which takes the end of the thread that
    started us for the end of the process.
    """
    global _armed
    import fcntl
    import select
    import signal

    # An open file of our own: what follows is said to the open file, and the siblings have their own.
    try:
        mine = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # without /proc
    fcntl.fcntl(mine, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(mine, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(mine, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    # The parent that ended before that.
    poll = select.poll()
    poll.register(mine, 0)
    if poll.poll(0):
        os.kill(os.getpid(), signal.SIGKILL)
    _armed = mine
