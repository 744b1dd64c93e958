"""What a forked child does from its first moment to its last: the interpreter's `BaseProcess._bootstrap`, in fewer steps.

Whatever a child looks at for the first time is a page that the kernel has to copy, and that is most of what a fork costs. So
what can be made before the fork is made there, once, and nothing is imported or asked for that a child does not need.
"""

import atexit
import io
import itertools
import os
import sys
import threading
from _thread import get_native_id
from multiprocessing import process as _state
from multiprocessing import util as _util

from allcores._allcores import leave_locks, reads_from_nowhere
from allcores.multiprocessing import _lifeline
from allcores.multiprocessing import context as _context

#: Since 3.13 a forked child runs what it registered itself with atexit, and before none of it.
RUNS_ATEXIT = sys.version_info >= (3, 13)

_stdin = _nowhere = None
_seen = _seen_file = None


def _empty_stdin():
    """What a child has as its standard input, and which reads from nowhere."""
    global _stdin, _nowhere
    if _stdin is None or _stdin is sys.stdin or not reads_from_nowhere(_nowhere):
        _nowhere = os.open(os.devnull, os.O_RDONLY)
        _stdin = open(_nowhere, encoding="utf-8", closefd=False)
    return _stdin


def _stdin_file():
    """The file of the standard input if it is as the interpreter made it, and None otherwise."""
    global _seen, _seen_file
    stdin = sys.stdin
    if stdin is not _seen:
        _seen, _seen_file = stdin, None
        if type(stdin) is io.TextIOWrapper and type(stdin.buffer) is io.BufferedReader:
            raw = stdin.buffer.raw
            if type(raw) is io.FileIO and not raw.closefd:
                _seen_file = raw
    return _seen_file


def fork(process, lifeline, outcome):
    """Forks: in the parent, the pid of a child that is this process. `outcome` is where its result is written."""
    method, default = process._start_method, _context._default_context
    context = None if method is None else _context._concrete_contexts[method]
    daemon = process._config.get("daemon")
    names = {
        "_process_counter": itertools.count(1),
        "_children": set(),
        "_current_process": process,
        "_parent_process": _state._ParentProcess(process._parent_name, process._parent_pid, lifeline),
    }
    try:
        stdin = _stdin_file()
        nowhere = None if stdin is None else _empty_stdin()
    except (OSError, ValueError):
        stdin = None
    hooks = bool(_util._afterfork_registry.data) or type(process)._after_fork is not _state.BaseProcess._after_fork
    known, finalizers = _state.__dict__, _util._finalizer_registry
    pid = os.fork()
    if pid:
        return pid

    code = 1
    try:
        if RUNS_ATEXIT:
            atexit._clear()
        try:
            if context is not None:
                default._actual_context, default._chosen = context, True
            if daemon:
                _lifeline.end_with(lifeline)
            if stdin is None:
                _util._close_stdin()
            else:
                stdin.close()
                sys.stdin = nowhere
            # Until those have been called it may be the last that knows it.
            before = _state._current_process
            known.update(names)
            threading._main_thread._native_id = get_native_id()
            try:
                if hooks:
                    process._after_fork()
                elif finalizers:
                    finalizers.clear()
            finally:
                del before
            if _util._logger is not None:
                _util.info("child process calling self.run()")
            try:
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
            finally:
                if not RUNS_ATEXIT and (_util._finalizer_registry or _state._children or _util._logger is not None):
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
            import traceback

            code = 1
            sys.stderr.write(f"Process {process.name}:\n")
            traceback.print_exc()
        finally:
            if RUNS_ATEXIT or threading._threading_atexits or threading._shutdown_locks or len(threading._active) > 1:
                threading._shutdown()
            if _util._logger is not None:
                _util.info("process exiting with exitcode %d", code)
            _util._flush_std_streams()
    finally:
        if RUNS_ATEXIT:
            atexit._run_exitfuncs()
            if _util._finalizer_registry or _state._children or _util._logger is not None:
                atexit.register(_util._exit_function)
                atexit._run_exitfuncs()
        leave_locks()
        os._exit(code)
