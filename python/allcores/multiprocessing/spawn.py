"""What a child needs that does not begin as a copy: how it is told who it is, and how it finds `__main__`.

The child of `spawn` imports this module first of all, so nothing is imported here that not every child needs.
"""

import os
import sys
from multiprocessing import process

__all__ = [
    "_main",
    "freeze_support",
    "set_executable",
    "get_executable",
    "get_preparation_data",
    "get_command_line",
    "import_main_path",
]

_executable = None


def set_executable(executable):
    """The interpreter that children run; None for that of this process."""
    global _executable
    _executable = None if executable is None else os.fsencode(executable)


def get_executable():
    """The interpreter that children run."""
    return os.fsencode(sys.executable) if _executable is None else _executable


def is_forking(argv):
    """Whether this is the command line of a child."""
    return len(argv) >= 2 and argv[1] == "--multiprocessing-fork"


def freeze_support():
    """In a frozen program that was started as a child: is that child, and does not return."""
    if is_forking(sys.argv):
        arguments = {}
        for argument in sys.argv[2:]:
            name, value = argument.split("=")
            arguments[name] = None if value == "None" else int(value)
        spawn_main(**arguments)
        sys.exit()


def get_command_line(**kwds):
    """The command line of a child."""
    if getattr(sys, "frozen", False):
        arguments = ["%s=%r" % item for item in kwds.items()]
        return [sys.executable, "--multiprocessing-fork", *arguments]
    from multiprocessing import util

    call = "spawn_main(%s)" % ", ".join("%s=%r" % item for item in kwds.items())
    program = bootstrap("allcores._child", "spawn_main", call)
    return [get_executable(), *util._args_from_interpreter_flags(), "-c", program, "--multiprocessing-fork"]


def bootstrap(module, name, call):
    """A program that imports this very package, also where its directory is not on the path of a new interpreter."""
    import allcores

    home = os.path.dirname(os.path.dirname(os.path.abspath(allcores.__file__)))
    return (
        f"import sys; sys.path.insert(0, {home!r}); import allcores; sys.path.remove({home!r}); "
        f"from {module} import {name}; {call}"
    )


def spawn_main(pipe_handle, parent_pid=None, tracker_fd=None, lifeline=None):
    """In the child: runs the process whose description is in a file."""
    assert is_forking(sys.argv), "Not forking"
    if tracker_fd is not None:
        from allcores import _child

        _child.when_loaded("multiprocessing.resource_tracker", _hand(tracker_fd))
    os.set_inheritable(pipe_handle, False)
    os.set_inheritable(lifeline, False)
    exitcode = _main(pipe_handle, lifeline)
    # What is left ends with the process: the interpreter need not look through it for cycles on its way out.
    import gc

    gc.freeze()
    sys.exit(exitcode)


def _hand(descriptor):
    """Has the interpreter's resource tracker write to the parent's."""

    def hand(resource_tracker):
        resource_tracker._resource_tracker._fd = descriptor

    return hand


def _main(fd, parent_sentinel):
    # Without the half of `pickle` that is written in Python.
    from _pickle import load

    with open(fd, "rb", closefd=False) as from_parent:
        process.current_process()._inheriting = True
        try:
            prepare(load(from_parent))
            self = load(from_parent)
        finally:
            del process.current_process()._inheriting
    # From here on it is the file for the result.
    os.ftruncate(fd, 0)
    self._outcome_fd = fd
    return self._bootstrap(parent_sentinel)


def pack(popen, process_obj):
    """In the parent: the descriptor of a file that describes a process."""
    from allcores.multiprocessing import _travel

    description = _travel.describe(popen, process_obj)
    # What it refers to may have come into being while it was described.
    preparation = _travel.dumps(popen, lambda: get_preparation_data(process_obj._name))
    descriptor = os.memfd_create("allcores process")
    try:
        for part in (preparation, description):
            part = memoryview(part)
            while part:
                part = part[os.write(descriptor, part) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


#: Whether `__main__`, as a child imports it, has tried to start a process.
unguarded = False


def _check_not_importing_main():
    global unguarded
    if getattr(process.current_process(), "_inheriting", False):
        unguarded = True
        raise RuntimeError(
            """
        An attempt has been made to start a new process before the
        current process has finished its bootstrapping phase.

        This probably means that you are not using fork to start your
        child processes and you have forgotten to use the proper idiom
        in the main module:

            if __name__ == '__main__':
                freeze_support()
                ...

        The "freeze_support()" line can be omitted if the program
        is not going to be frozen to produce an executable. Or call
        set_start_method('fork') before the first process is started.

        To fix this issue, refer to the "Safe importing of main module"
        section in https://docs.python.org/3/library/multiprocessing.html
        """
        )


def get_preparation_data(name):
    """What a child must know before the description of its process can be unpickled."""
    from multiprocessing import util

    from allcores.multiprocessing import context

    _check_not_importing_main()
    data = {"log_to_stderr": util._log_to_stderr, "authkey": process.current_process().authkey}
    if util._logger is not None:
        data["log_level"] = util._logger.getEffectiveLevel()
    path = sys.path.copy()
    if "" in path:
        path[path.index("")] = process.ORIGINAL_DIR
    data.update(
        name=name,
        sys_path=path,
        sys_argv=sys.argv,
        orig_dir=process.ORIGINAL_DIR,
        dir=os.getcwd(),
        start_method=context._default_context.get_start_method(allow_none=True),
    )
    install = sys.modules.get("allcores._install")
    if install is not None and install.installed():
        data["installed"] = True
    arena = sys.modules.get("allcores.multiprocessing._arena")
    popen = context.get_spawning_popen()
    if arena is not None and popen is not None:
        # Not imported means that this process shares nothing.
        data["arena"] = arena.preparation(popen)
    data.update(main_of(sys.modules["__main__"]))
    return data


def main_of(module):
    """How a child finds the main module, if it can: its name, or its path."""
    name = getattr(module.__spec__, "name", None)
    if name is not None:
        return {"init_main_from_name": name}
    path = getattr(module, "__file__", None)
    if path is None or path.startswith("<"):
        # Typed in, or read from a pipe.
        return {}
    if not os.path.isabs(path) and process.ORIGINAL_DIR is not None:
        path = os.path.join(process.ORIGINAL_DIR, path)
    return {"init_main_from_path": os.path.normpath(path)}


old_main_modules = []


def prepare(data):
    """In the child: what was said by `get_preparation_data`."""
    current = process.current_process()
    if "name" in data:
        current.name = data["name"]
    if "authkey" in data:
        current.authkey = data["authkey"]
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if "dir" in data:
        os.chdir(data["dir"])
    if "orig_dir" in data:
        process.ORIGINAL_DIR = data["orig_dir"]
    # Before anything can make an arena of its own.
    if "arena" in data:
        from allcores.multiprocessing import _arena

        _arena.adopt(data["arena"])
    if data.get("log_to_stderr") or "log_level" in data:
        from multiprocessing import util

        if data.get("log_to_stderr"):
            util.log_to_stderr()
        if "log_level" in data:
            util.get_logger().setLevel(data["log_level"])
    if data.get("start_method") is not None:
        from allcores.multiprocessing import context

        context._default_context.set_start_method(data["start_method"], force=True)
    if data.get("installed"):
        from allcores import _child, _install

        _child.load_all()
        _install.install_in_child()
    if "init_main_from_name" in data:
        _fixup_main_from_name(data["init_main_from_name"])
    elif "init_main_from_path" in data:
        _fixup_main_from_path(data["init_main_from_path"])


def _fixup_main_from_name(mod_name):
    # What is in a __main__.py is for the first process alone.
    current = sys.modules["__main__"]
    if mod_name == "__main__" or mod_name.endswith(".__main__"):
        return
    # The fork server may have imported it.
    if getattr(current.__spec__, "name", None) == mod_name:
        return
    import runpy

    content = runpy.run_module(mod_name, run_name="__mp_main__", alter_sys=True)
    _become_main(current, content)


def _fixup_main_from_path(main_path):
    current = sys.modules["__main__"]
    # IPython's script runs the program again if it is imported.
    if os.path.splitext(os.path.basename(main_path))[0] == "ipython":
        return
    # The fork server may have imported it.
    if getattr(current, "__file__", None) == main_path:
        return
    if main_path.endswith(".py") and os.path.isfile(main_path):
        _run_file(current, main_path)
        return
    import runpy

    _become_main(current, runpy.run_path(main_path, run_name="__mp_main__"))


def _run_file(current, path):
    """What `runpy.run_path` does with a script, without what it imports for folders and archives."""
    import io

    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    module = type(sys)("__mp_main__")
    module.__dict__.update(
        __file__=path, __cached__=None, __loader__=None, __package__="", __spec__=None, __builtins__=__builtins__
    )
    before, argument = sys.modules.get("__mp_main__"), sys.argv[0]
    sys.modules["__mp_main__"], sys.argv[0] = module, path
    try:
        exec(code, module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules["__mp_main__"]
        else:
            sys.modules["__mp_main__"] = before
        raise
    finally:
        sys.argv[0] = argument
    old_main_modules.append(current)
    sys.modules["__main__"] = module


def _become_main(current, content):
    old_main_modules.append(current)
    module = type(sys)("__mp_main__")
    module.__dict__.update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def import_main_path(main_path):
    """Makes the file at a path the main module."""
    _fixup_main_from_path(main_path)
