"""Processes that begin as copies of the fork server."""

import os
from multiprocessing.connection import wait

from allcores._allcores import ChildFiles
from allcores.multiprocessing import _lifeline, forkserver, popen_fork, spawn

__all__ = ["Popen"]


class _DupFd:
    """A descriptor by its place among those that came with the request."""

    def __init__(self, ind):
        self.ind = ind

    def detach(self):
        """The descriptor, which is the caller's from now on."""
        return forkserver.get_inherited_fds()[self.ind]


class Popen(popen_fork.Popen):
    """A child of the fork server."""

    method = "forkserver"
    DupFd = _DupFd

    def __init__(self, process_obj):
        self._fds = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd):
        """Has the child get a descriptor; the answer is what it can be found by there."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj):
        data = spawn.pack(self, process_obj)
        try:
            self.sentinel = forkserver.connect_to_new_process([data, _lifeline.reading_end(), *self._fds])
        except BaseException:
            os.close(data)
            raise
        self.finalizer = ChildFiles(self.sentinel, data)
        answer = forkserver.read_signed(self.sentinel)
        if answer < 0:
            from allcores.multiprocessing import _travel

            raise _travel.refused(answer)
        self.pid = answer

    def poll(self, flag=os.WNOHANG):
        """The exit code, or None while the child runs; without WNOHANG, waits for it."""
        if self.returncode is None:
            if not wait([self.sentinel], 0 if flag == os.WNOHANG else None):
                return None
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                # The server has been killed, and took the answer along.
                self.returncode = 255
        return self.returncode
