"""Processes that begin as copies of their parent."""

import atexit
import os
from multiprocessing import popen_fork as _stock
from multiprocessing import util

from allcores._allcores import Inheritance
from allcores.multiprocessing import _forked, _lifeline
from allcores.multiprocessing._process import SharedMethods

__all__ = ["Popen"]


class Popen(_stock.Popen):
    """A child of `os.fork`."""

    _outcome_fd = None
    _inheritance = None

    def _launch(self, process_obj):
        # The arguments may be all that keeps a shared object, and the parent drops them before the child has used it.
        inheritance = Inheritance.before_fork()
        lifeline = _lifeline.reading_end()
        _forked.prepare()
        outcome = os.memfd_create("allcores result")
        code = 1
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if inheritance is not None:
                    inheritance.take()
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
                os._exit(code)
        self._inheritance = inheritance
        self.sentinel = sentinel_of(self.pid)
        self._own(self.sentinel, outcome)

    def poll(self, flag=os.WNOHANG):
        """The exit code, or None while the child runs."""
        code = super().poll(flag)
        if self._inheritance is not None:
            if code is None:
                self._inheritance.settle()
            else:
                self._inheritance = None
        return code

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
