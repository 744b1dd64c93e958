"""The fork server: a process that imports `__main__` once, and of which children are copies.

It is asked by messages on a socket whose other end the program's processes hold, and which has no name: nobody else can
ask. A message carries the descriptors that the child is to have. The answer, first the child's pid and at its end its exit
code, comes through a pipe of which the message carries the writing end. When the last process that could ask has ended,
so does the server.
"""

import os
import socket
import struct
import sys
import threading
from multiprocessing import process, util

from allcores.multiprocessing import spawn

__all__ = ["ensure_running", "get_inherited_fds", "connect_to_new_process", "set_forkserver_preload"]

MAXFDS_TO_SEND = 256
SIGNED_STRUCT = struct.Struct("q")


class ForkServer:
    """The fork server as the processes see it that may ask it."""

    def __init__(self):
        # The socket by which it is asked.
        self._forkserver_alive_fd = None
        # In the process that started it alone.
        self._forkserver_pid = None
        self._inherited_fds = None
        self._lock = threading.Lock()
        self._preload_modules = ["__main__"]

    def _stop(self):
        """Ends it; for tests."""
        with self._lock:
            if self._forkserver_pid is None:
                return
            self._let_go()
            os.waitpid(self._forkserver_pid, 0)
            self._forkserver_pid = None

    def _let_go(self):
        os.close(self._forkserver_alive_fd)
        self._forkserver_alive_fd = None

    def set_forkserver_preload(self, modules_names, *, on_error="ignore"):
        """The modules that the server imports when it starts, `"__main__"` among them if it is named.

        What cannot be imported is ignored, unless `on_error` is `"warn"` or `"fail"`.
        """
        if not all(type(name) is str for name in modules_names):
            raise TypeError("module_names must be a list of strings")
        if on_error not in ("ignore", "warn", "fail"):
            raise ValueError(f"on_error must be 'ignore', 'warn' or 'fail', not {on_error!r}")
        self._preload_modules = modules_names
        self._on_error = on_error

    _on_error = "ignore"

    def get_inherited_fds(self):
        """The descriptors that came with the request for this process; None if it is no child of a fork server."""
        return self._inherited_fds

    def connect_to_new_process(self, fds):
        """Asks for a child that has these descriptors: the file that describes it, the lifeline, then what it wants.

        Gives the descriptor from which its pid, and then its exit code, can be read.
        """
        from multiprocessing import resource_tracker

        if len(fds) + 4 >= MAXFDS_TO_SEND:
            raise ValueError("too many fds")
        reader, writer = os.pipe()
        try:
            for again in (True, False):
                self.ensure_running()
                mine = self._forkserver_alive_fd
                try:
                    with socket.socket(fileno=os.dup(mine)) as server:
                        socket.send_fds(server, [b"fork"], [writer, mine, resource_tracker.getfd(), *fds])
                    return reader
                except (BrokenPipeError, ConnectionError):
                    if not again:
                        raise
                    # It has been killed; whoever started it will see that, and we start another.
                    with self._lock:
                        if self._forkserver_pid is None and self._forkserver_alive_fd == mine:
                            self._let_go()
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)

    def ensure_running(self):
        """Starts the server, unless there is one: in a child, its parent's."""
        from multiprocessing import resource_tracker

        with self._lock:
            resource_tracker.ensure_running()
            if self._forkserver_pid is not None:
                try:
                    pid, _ = os.waitpid(self._forkserver_pid, os.WNOHANG)
                except ChildProcessError:
                    # Our parent's, of whom we are a copy.
                    self._forkserver_pid = None
                    return
                if not pid:
                    return
                self._let_go()
                self._forkserver_pid = None
            elif self._forkserver_alive_fd is not None:
                return
            self._launch()

    def _launch(self):
        from allcores.multiprocessing import _server

        mine, servers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine, servers:
            options = _server.options(self._preload_modules, self._on_error)
            call = "main(%d, **%r)" % (servers.fileno(), options)
            program = spawn.bootstrap("allcores.multiprocessing.forkserver", "main", call)
            command = [spawn.get_executable(), *util._args_from_interpreter_flags(), "-c", program]
            pid = util.spawnv_passfds(command[0], command, [servers.fileno()])
            self._forkserver_alive_fd = mine.detach()
            self._forkserver_pid = pid


def main(listener_fd, **options):
    """Is the fork server."""
    from allcores.multiprocessing import _server

    _server.serve(listener_fd, **options)


def read_signed(fd):
    """Reads a number that `write_signed` has written."""
    data = b""
    while len(data) < SIGNED_STRUCT.size:
        part = os.read(fd, SIGNED_STRUCT.size - len(data))
        if not part:
            raise EOFError("unexpected EOF")
        data += part
    return SIGNED_STRUCT.unpack(data)[0]


def write_signed(fd, n):
    """Writes a number."""
    data = SIGNED_STRUCT.pack(n)
    while data:
        data = data[os.write(fd, data) :]


_forkserver = ForkServer()
ensure_running = _forkserver.ensure_running
get_inherited_fds = _forkserver.get_inherited_fds
connect_to_new_process = _forkserver.connect_to_new_process
set_forkserver_preload = _forkserver.set_forkserver_preload
