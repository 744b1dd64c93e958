"""What a forked child does from its first moment to its last: the interpreter's `BaseProcess._bootstrap`, in fewer steps.

Whatever a child looks at for the first time is a page that the kernel has to copy, and that is most of what a fork costs. So
what can be made before the fork is made there, once, and nothing is imported or asked for that a child does not need.
"""

import itertools
import os
import sys
import threading
from multiprocessing import process as _state
from multiprocessing import util as _util

from allcores.multiprocessing import _lifeline
from allcores.multiprocessing import context as _context

_stdin = None


def prepare():
    """In the parent, before a fork: the standard input of its children, which reads from nowhere."""
    global _stdin
    if _stdin is None:
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return  # The child will see.
        try:
            # Nobody reads here: each child gives it a descriptor of its own.
            _stdin = open(descriptor, encoding="utf-8", closefd=False)
        finally:
            os.close(descriptor)


def _close_stdin():
    global _stdin
    if sys.stdin is None:
        return
    try:
        sys.stdin.close()
    except (OSError, ValueError):
        pass
    # This process's own from now on: its children get another.
    mine, _stdin = _stdin, None
    if mine is None:
        _util._close_stdin()
        return
    try:
        mine.buffer.raw.__init__(os.open(os.devnull, os.O_RDONLY), "rb", False)
    except (OSError, ValueError):
        return
    sys.stdin = mine


def bootstrap(process, lifeline, outcome):
    """In the child: is that process until it has ended; the exit code."""
    try:
        if process._start_method is not None:
            _context._force_start_method(process._start_method)
        if process._config.get("daemon"):
            _lifeline.end_with(lifeline)
        _state._process_counter = itertools.count(1)
        _state._children = set()
        _close_stdin()
        before = _state._current_process
        _state._current_process = process
        _state._parent_process = _state._ParentProcess(process._parent_name, process._parent_pid, lifeline)
        if threading._HAVE_THREAD_NATIVE_ID:
            threading._main_thread._set_native_id()
        try:
            process._after_fork()
        finally:
            # Not before those have been called: it may be the last that knows it.
            del before
        if _util._logger is not None:
            _util.info("child process calling self.run()")
        try:
            _run(process, outcome)
        finally:
            if not RUNS_ATEXIT:
                _util._exit_function()
        code = 0
    except SystemExit as end:
        if end.code is None:
            code = 0
        elif isinstance(end.code, int):
            code = end.code
        else:
            sys.stderr.write(str(end.code) + "\n")
            code = 1
    except BaseException:
        code = 1
        import traceback

        sys.stderr.write(f"Process {process.name}:\n")
        traceback.print_exc()
    finally:
        threading._shutdown()
        if _util._logger is not None:
            _util.info("process exiting with exitcode %d", code)
        _util._flush_std_streams()
    return code


#: Since 3.13 a forked child runs what it registered itself with atexit, and before none of it.
RUNS_ATEXIT = sys.version_info >= (3, 13)


def _run(process, outcome):
    try:
        value = process.run()
    except BaseException as error:
        from allcores.multiprocessing import _outcome

        _outcome.write_error(outcome, error)
        raise
    if value is None:
        # A byte that is nowhere: the file is longer, and that is all.
        os.truncate(outcome, 1)
    else:
        from allcores.multiprocessing import _outcome

        _outcome.write_value(outcome, value)
    os.close(outcome)
