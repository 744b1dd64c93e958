"""What every process of this package can do beyond the interpreter's."""

import os
import signal

from allcores.multiprocessing import _lifeline


class SharedMethods:
    """Results, and an end that comes with the parent's. Mixed into the processes of every context."""

    # In the child: the descriptor into which the result is written. In the parent: what became of it.
    _outcome_fd = None
    _outcome = None

    def run(self):
        """What the process does: it may be overridden, and what it returns is the process's result."""
        if self._target:
            return self._target(*self._args, **self._kwargs)

    def interrupt(self):
        """Sends SIGINT to the process: in Python, a KeyboardInterrupt."""
        self._check_closed()
        self._popen._send_signal(signal.SIGINT)

    def result(self, timeout=None):
        """Waits until the process has ended, and gives what its target, or its `run`, returned.

        What it raised is raised here, with the child's traceback as its cause. A process that ended in another way, by a
        signal or `os._exit` or `sys.exit`, has no result: ProcessError says how it ended. Raises
        `multiprocessing.TimeoutError` if the process has not ended after `timeout` seconds.
        """
        return self._settled(timeout)()

    def exception(self, timeout=None):
        """Waits until the process has ended, and gives what `result` would raise: None if there is a result.

        Raises `multiprocessing.TimeoutError` if the process has not ended after `timeout` seconds.
        """
        outcome = self._settled(timeout)
        try:
            outcome()
        except Exception as error:
            # Without our frames, which would keep it alive.
            return error.with_traceback(None)
        return None

    def _settled(self, timeout):
        """What became of it, as a function that returns or raises it."""
        self._check_closed()
        if self._outcome is None:
            assert self._parent_pid == os.getpid(), "can only take the result of a child process"
            assert self._popen is not None, "can only take the result of a started process"
            self.join(timeout)
            exitcode = self.exitcode
            from allcores.multiprocessing import _outcome

            if exitcode is None:
                raise _outcome.not_yet(self, timeout)
            self._outcome = _outcome.read(self, exitcode)
            self._popen.finalizer.forget_outcome()
        return self._outcome

    def _bootstrap(self, parent_sentinel=None):
        # In the child, of the other start methods, `_forked.bootstrap` being the same for those of fork.
        if self._start_method is not None:
            from allcores.multiprocessing import context

            context._force_start_method(self._start_method)
        if self._config.get("daemon") and parent_sentinel is not None:
            _lifeline.end_with(parent_sentinel)
        if self._outcome_fd is not None:
            self.run = _Kept(self, self.run)
        return super()._bootstrap(parent_sentinel)


class _Kept:
    """`run`, whose end is written down."""

    __slots__ = ("_process", "_run")

    def __init__(self, process, run):
        self._process = process
        self._run = run

    def __call__(self):
        process = self._process
        # As if `run` had been called by its own name: no trace of us, and no cycle.
        del process.run
        descriptor, process._outcome_fd = process._outcome_fd, None
        try:
            value = self._run()
        except BaseException as error:
            from allcores.multiprocessing import _outcome

            _outcome.write_error(descriptor, error)
            raise
        if value is None:
            # A byte that is nowhere: the file is longer, and that is all.
            os.truncate(descriptor, 1)
        else:
            from allcores.multiprocessing import _outcome

            _outcome.write_value(descriptor, value)
        os.close(descriptor)
