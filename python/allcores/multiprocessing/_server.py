"""The fork server's own side: what it imports, and how it forks."""

import atexit
import gc
import os
import select
import signal
import socket
import sys
import threading
import warnings
from multiprocessing import process, reduction, resource_tracker, util  # noqa: F401

from allcores.multiprocessing import _travel, forkserver, spawn

# What a child may ask for, imported once for all of them.
from allcores.multiprocessing import context, popen_forkserver  # noqa: F401


def options(modules, on_error):
    """In the program: what the server is told."""
    told = {"preload": list(modules), "on_error": on_error}
    if modules:
        data = spawn.get_preparation_data("ignore")
        for name in ("sys_path", "sys_argv", "init_main_from_name", "init_main_from_path", "installed"):
            if name in data:
                told[name] = data[name]
    return told


def serve(descriptor, preload=(), on_error="ignore", **told):
    """Imports, and forks on request until nobody is left to ask."""
    os.set_inheritable(descriptor, False)
    _preload(descriptor, preload, on_error, told)
    util._close_stdin()
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    util._flush_std_streams()
    # What is here stays: no child need look at it, and write to its pages, when it collects.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as asked:
        _Server(asked, old, told.get("without_main", 0)).run()


def _preload(descriptor, modules, on_error, told):
    if told.get("installed"):
        from allcores import _child, _install

        _child.load_all()
        _install.install_in_child()
    main = {name: told[name] for name in ("init_main_from_name", "init_main_from_path") if name in told}
    if "sys_path" in told:
        sys.path = told["sys_path"]
    if "__main__" in modules and main and "without_main" not in told:
        _preload_main(descriptor, main, told)
    for name in modules:
        if name == "__main__":
            continue
        try:
            __import__(name)
        except ImportError as error:
            if on_error == "fail":
                raise
            if on_error == "warn":
                warnings.warn(f"the fork server cannot import {name!r}: {error}", ImportWarning, stacklevel=2)


def _preload_main(descriptor, main, told):
    argv, sys.argv = sys.argv, told.get("sys_argv", sys.argv)
    current = process.current_process()
    current._inheriting = True
    try:
        spawn.prepare(main)
    except BaseException:
        # Each child will try for itself, and say so; unless all of them would fail, which their parent is told.
        fits, why = False, _travel.refusal(main)
    else:
        fits, why = _forkable(), 0
    finally:
        del current._inheriting
        sys.argv = argv
    if not fits:
        # From the beginning, and without it: what it has done here would be in every child.
        os.set_inheritable(descriptor, True)
        os.execv(sys.orig_argv[0] if os.path.isabs(sys.orig_argv[0]) else sys.executable, _without_main(why))


def _without_main(why):
    command = list(sys.orig_argv)
    place = command.index("-c") + 1
    command[place] = command[place].replace("main(", f"main(without_main={why}, listener_fd=", 1)
    return command


def _forkable():
    """Whether a copy of this process is whole: not if there are threads, which a copy would not have."""
    if threading.active_count() > 1:
        return False
    if _threads() == 1:
        return True
    # Threads of a library: some end theirs before a fork.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return _threads() == 1


def _threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


class _Server:
    def __init__(self, asked, interrupted, refusal):
        self._asked = asked
        # What is answered instead of a pid, or 0.
        self._refusal = refusal
        self._interrupted = interrupted
        # By the descriptor of a child: its pid, and where its exit code is to be written.
        self._children = {}

    def run(self):
        poll = self._poll = select.poll()
        poll.register(self._asked, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor in self._children:
                    self._ended(descriptor)
                elif not self._answer():
                    return

    def _ended(self, descriptor):
        pid, status = self._children.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        _, how = os.waitpid(pid, 0)
        _say(status, os.waitstatus_to_exitcode(how))
        os.close(status)

    def _answer(self):
        message, fds, _, _ = socket.recv_fds(self._asked, 16, forkserver.MAXFDS_TO_SEND)
        if not message:
            return False
        for fd in fds:
            os.set_inheritable(fd, False)
        status, *others = fds
        if self._refusal:
            _say(status, self._refusal)
            for fd in fds:
                os.close(fd)
            return True
        pid = os.fork()
        if pid == 0:
            self._be_child(status, others)
        for fd in others:
            os.close(fd)
        _say(status, pid)
        sentinel = os.pidfd_open(pid)
        self._children[sentinel] = pid, status
        self._poll.register(sentinel, select.POLLIN)
        return True

    def _be_child(self, status, fds):
        code = 1
        try:
            self._asked.close()
            os.close(status)
            for sentinel, (_, other) in self._children.items():
                os.close(sentinel)
                os.close(other)
            signal.signal(signal.SIGINT, self._interrupted)
            atexit._clear()
            atexit.register(util._exit_function)
            code = _become(fds)
        except Exception:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            if sys.version_info >= (3, 13):
                atexit._run_exitfuncs()
            # Last: threads that were waited for may have taken locks. Loaded already, unless nothing shared was used.
            shared = sys.modules.get("allcores._allcores")
            if shared is not None:
                shared.leave_locks()
            os._exit(code)


def _become(fds):
    server, tracker, description, lifeline, *inherited = fds
    known = forkserver._forkserver
    known._forkserver_alive_fd = server
    known._inherited_fds = inherited
    resource_tracker._resource_tracker._fd = tracker
    return spawn._main(description, lifeline)


def _say(status, number):
    try:
        forkserver.write_signed(status, number)
    except BrokenPipeError:
        pass  # Nobody wants to know any more.
