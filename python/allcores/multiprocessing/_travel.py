"""What of a process travels to its child, and what is said if something cannot."""

import contextlib
import errno
import io
import os
import sys

from allcores.multiprocessing import context, spawn

_REMEDY = (
    "Processes are started by a fork server unless the program says otherwise, and what they are given must be picklable "
    "and importable. Define it at the top level of a module that can be imported, keep the program's start under "
    "`if __name__ == '__main__':`, or call allcores.multiprocessing.set_start_method('fork') first, which lets children "
    "begin as copies of their parent."
)


#: Why no child could import `__main__`: what the fork server answers.
_UNGUARDED, _MISSING = -1, -2


def refusal(main):
    """In the fork server, which could not import `__main__`: whether no child could, as a number below 0, or 0."""
    if spawn.unguarded:
        return _UNGUARDED
    return _MISSING if _missing(main) else 0


def refused(number):
    """In the program: the error for that number."""
    if number == _UNGUARDED:
        return RuntimeError(
            "__main__ starts processes when it is imported, as every child has to do. Keep the program's start under "
            "`if __name__ == '__main__':`, or call set_start_method('fork') before the first process is started, which lets "
            "children begin as copies of their parent."
        )
    return _gone(spawn.main_of(sys.modules["__main__"]).get("init_main_from_path"))


def _missing(main):
    path = main.get("init_main_from_path")
    return path is not None and not os.path.exists(path)


def _gone(path):
    return FileNotFoundError(
        errno.ENOENT,
        "__main__ cannot be imported by a new process, since its file is not there any more; set_start_method('fork') lets "
        "children begin as copies of their parent",
        path,
    )


def dumps(popen, make):
    """The pickle of what `make` returns, for the child of a Popen."""
    stream = io.BytesIO()
    context.set_spawning_popen(popen)
    try:
        context._default_context.reducer.dump(make(), stream)
    finally:
        context.set_spawning_popen(None)
    return stream.getvalue()


def describe(popen, process_obj):
    """The pickle of a process, which can be unpickled where `__main__` is what the child can have of it."""
    pickled = dumps(popen, lambda: process_obj)
    main = spawn.main_of(sys.modules["__main__"])
    # The fork server may have imported it before it vanished.
    if popen.method == "spawn" and _missing(main) and _arrives(main):
        raise _gone(main["init_main_from_path"])
    if not _arrives(main) and b"__main__" in pickled:
        name = _named_in_main(pickled)
        if name is not None:
            import pickle

            raise pickle.PicklingError(
                f"{name!r} is defined in __main__, which is no file that a new process could import "
                "(it was typed in, came through a pipe or with -c, or is a __main__.py). "
                "allcores.multiprocessing.set_start_method('fork') lets children begin as copies of their parent; "
                "or define it in a module."
            )
    return pickled


def _arrives(main):
    """Whether the child will have the main module's content."""
    name, path = main.get("init_main_from_name"), main.get("init_main_from_path")
    if name is not None:
        return name != "__main__" and not name.endswith(".__main__")
    return path is not None and os.path.splitext(os.path.basename(path))[0] != "ipython"


def _named_in_main(pickled):
    """The first name that a pickle takes from `__main__`."""
    import pickletools

    said, memo = [], {}
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"):
            said.append(argument)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = said[-1] if said else None
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            said.append(memo.get(argument))
        elif opcode.name == "GLOBAL" and argument.startswith("__main__ "):
            return argument.split(" ", 1)[1]
        elif opcode.name == "STACK_GLOBAL":
            if said[-2:-1] == ["__main__"]:
                return said[-1]
            said.append(None)
        else:
            continue
    return None


@contextlib.contextmanager
def explained(started_in):
    """Adds, to an error that comes of a start method which nobody chose, how to choose another."""
    if started_in._name == "fork":
        yield
        return
    import pickle

    try:
        yield
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        if "set_start_method" in str(error):
            raise
        text = f"{error}\n{_REMEDY}"
        try:
            explained = type(error)(text)
        except Exception:
            explained = pickle.PicklingError(text)
        raise explained from error
