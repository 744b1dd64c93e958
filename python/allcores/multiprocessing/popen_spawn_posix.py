"""Processes that begin as new interpreters."""

import os
from multiprocessing import util

from allcores._allcores import ChildFiles
from allcores.multiprocessing import _lifeline, popen_fork, spawn

__all__ = ["Popen"]


class _DupFd:
    """A descriptor that the child has under the same number."""

    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        """The descriptor, which is the caller's from now on."""
        return self.fd


class Popen(popen_fork.Popen):
    """A child that runs an interpreter of its own."""

    method = "spawn"
    DupFd = _DupFd

    def __init__(self, process_obj):
        self._fds = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd):
        """Has the child inherit a descriptor; the answer is what it can be found by there."""
        self._fds.append(fd)
        return fd

    def _launch(self, process_obj):
        from multiprocessing import resource_tracker

        tracker = resource_tracker.getfd()
        data = spawn.pack(self, process_obj)
        try:
            lifeline = _lifeline.reading_end()
            command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=data, lifeline=lifeline)
            descriptors = {*self._fds, tracker, data, lifeline}
            self.pid = util.spawnv_passfds(spawn.get_executable(), command, descriptors)
        except BaseException:
            os.close(data)
            raise
        self.sentinel = popen_fork.sentinel_of(self.pid)
        self.finalizer = ChildFiles(self.sentinel, data)
