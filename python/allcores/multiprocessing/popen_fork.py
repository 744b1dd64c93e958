"""Processes that begin as copies of their parent."""

import atexit
import os
from multiprocessing import popen_fork as _stock
from multiprocessing import util

from allcores._allcores import ChildFiles, leave_locks
from allcores.multiprocessing import _forked, _lifeline
from allcores.multiprocessing._process import SharedMethods

__all__ = ["Popen"]


class Popen(_stock.Popen):
    """A child of `os.fork`."""

    def _launch(self, process_obj):
        # Closes what it holds of the child when it is called, or gone.
        files = self.finalizer = ChildFiles.ahead()
        if type(process_obj)._bootstrap is SharedMethods._bootstrap:
            pid = _forked.fork(process_obj, _lifeline.reading_end(), files.outcome)
        else:
            pid = self._fork_stock(process_obj, files.outcome)
        self.pid = pid
        self.sentinel = sentinel_of(pid)
        files.watch(self.sentinel)

    @staticmethod
    def _fork_stock(process_obj, outcome):
        """Somebody has made `_bootstrap` his own."""
        lifeline = _lifeline.reading_end()
        code = 1
        pid = os.fork()
        if pid:
            return pid
        try:
            if _forked.RUNS_ATEXIT:
                atexit._clear()
                atexit.register(util._exit_function)
            process_obj._outcome_fd = outcome
            code = process_obj._bootstrap(parent_sentinel=lifeline)
        finally:
            if _forked.RUNS_ATEXIT:
                atexit._run_exitfuncs()
            # Last: threads that were waited for may have taken locks.
            leave_locks()
            os._exit(code)


def sentinel_of(pid):
    """A descriptor that is ready when the child has ended; it is no matter who else holds one."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        # It has ended, and somebody else has taken note of it: a descriptor that is ready.
        reader, writer = os.pipe()
        os.close(writer)
        return reader
