"""Processes that begin as copies of their parent."""

import atexit
import os
from multiprocessing import popen_fork as _stock
from multiprocessing import util

from allcores._allcores import leave_locks
from allcores.multiprocessing import _forked, _lifeline
from allcores.multiprocessing._process import SharedMethods

__all__ = ["Popen"]


class Popen(_stock.Popen):
    """A child of `os.fork`."""

    _outcome_fd = None

    def _launch(self, process_obj):
        lifeline = _lifeline.reading_end()
        _forked.prepare()
        outcome = os.memfd_create("allcores result")
        code = 1
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if _forked.RUNS_ATEXIT:
                    atexit._clear()
                    atexit.register(util._exit_function)
                if type(process_obj)._bootstrap is SharedMethods._bootstrap:
                    code = _forked.bootstrap(process_obj, lifeline, outcome)
                else:
                    # Somebody has made it his own.
                    process_obj._outcome_fd = outcome
                    code = process_obj._bootstrap(parent_sentinel=lifeline)
            finally:
                if _forked.RUNS_ATEXIT:
                    atexit._run_exitfuncs()
                # Last: threads that were waited for may have taken locks.
                leave_locks()
                os._exit(code)
        self.sentinel = sentinel_of(self.pid)
        self._own(self.sentinel, outcome)

    def _own(self, sentinel, outcome, *others):
        """Takes the descriptors that are to be closed with this object."""
        self._outcome_fd = outcome
        self._descriptors = [sentinel, outcome, *others]
        self.finalizer = util.Finalize(self, _close_all, (self._descriptors,))

    def _forget_outcome(self):
        """The result has been taken."""
        descriptor, self._outcome_fd = self._outcome_fd, None
        if descriptor is not None:
            self._descriptors.remove(descriptor)
            os.close(descriptor)


def _close_all(descriptors, _close=os.close):
    # Bound: at the end of the interpreter the module's names may be gone.
    for descriptor in descriptors:
        _close(descriptor)


def sentinel_of(pid):
    """A descriptor that is ready when the child has ended; it is no matter who else holds one."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        # It has ended, and somebody else has taken note of it: a descriptor that is ready.
        reader, writer = os.pipe()
        os.close(writer)
        return reader
