"""Running a program that knows nothing of this package, as the interpreter itself would."""

import os
import sys
from importlib.machinery import BuiltinImporter

from allcores._install import install

_USAGE = """\
usage: python -m allcores [-m module | -c command | script.py | folder | archive.zip] [argument …]

Runs an unmodified Python program on allcores: in it, and in the children it starts through multiprocessing, the names of
threading, queue and multiprocessing are this package's. Programs that it starts through subprocess run as they are.

  -m module       run a module, as python -m does
  -c command      run a command, as python -c does
  -V, --version   print the version
  -h, --help      print this

ALLCORES_START_METHOD=fork|spawn|forkserver sets the default start method; without it, it is the interpreter's own."""


def main():
    """Run what the command line names. Does not come back before the program ends."""
    arguments = sys.argv[1:]
    first = arguments[0] if arguments else None
    if first in ("-h", "--help"):
        print(_USAGE)
    elif first in ("-V", "--version"):
        from allcores import __version__

        print(f"allcores {__version__}")
    elif first is None:
        _refuse("no program is named")
    elif first in ("-m", "-c") and len(arguments) == 1:
        _refuse(f"{first} needs an argument")
    elif first.startswith("-") and first[:2] not in ("-m", "-c"):
        _refuse(f"{first} is not an option (options of the interpreter stand before -m allcores)")
    else:
        install()
        _run(first, arguments)


def _refuse(why):
    print(_USAGE.partition("\n")[0], file=sys.stderr)
    print(f"python -m allcores: {why}; --help tells more", file=sys.stderr)
    sys.exit(2)


def _run(first, arguments):
    if first[:2] == "-m":
        # As python: -mmodule and -m module are the same.
        name, rest = (first[2:], arguments[1:]) if first != "-m" else (arguments[1], arguments[2:])
        sys.argv[:] = ["-m", *rest]
        program = lambda: _module(name, alter_argv=True)  # noqa: E731
    elif first[:2] == "-c":
        command, rest = (first[2:], arguments[1:]) if first != "-c" else (arguments[1], arguments[2:])
        sys.argv[:] = ["-c", *rest]
        _first_on_path("")
        program = lambda: _exec(compile(_dedented(command), "<string>", "exec"), None)  # noqa: E731
    else:
        sys.argv[:] = arguments
        program = _script(first)
    _fresh_main()
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        _as_if_alone(error)
        raise


def _dedented(command):
    """3.14 dedents what `-c` is given."""
    if sys.version_info >= (3, 14):
        import textwrap

        return textwrap.dedent(command)
    return command


def _first_on_path(entry):
    """`python -m` has put the working folder there; another kind of program has something else."""
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _fresh_main():
    """Empties `__main__` of what `python -m allcores` has put there."""
    names = vars(sys.modules["__main__"])
    builtins = names["__builtins__"]
    names.clear()
    names.update(
        __name__="__main__",
        __doc__=None,
        __package__=None,
        __loader__=BuiltinImporter,
        __spec__=None,
        __builtins__=builtins,
    )
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}


def _module(name, alter_argv):
    import runpy

    # What `python -m` itself calls: it runs in the `__main__` that is there, which stays when the program has ended.
    runpy._run_module_as_main(name, alter_argv)


def _script(path):
    from pkgutil import get_importer

    # A folder or an archive is importable, and has a __main__.
    if get_importer(path) is not None:
        folder = os.path.abspath(path)
        if sys.flags.safe_path:
            sys.path.insert(0, folder)
        else:
            sys.path[0] = folder
        return lambda: _module("__main__", alter_argv=False)
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        where = f"can't open file {os.path.abspath(path)!r}"
        print(f"{sys.executable}: {where}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(2)
    _first_on_path(os.path.dirname(os.path.realpath(path)))
    # Since 3.9 `__file__` of `__main__` is absolute.
    return lambda: _exec_file(os.path.abspath(path), source)


def _exec_file(path, source):
    from importlib.machinery import SourcelessFileLoader, SourceFileLoader

    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", path)
        code = loader.get_code("__main__")
    else:
        loader = SourceFileLoader("__main__", path)
        code = compile(source, path, "exec", dont_inherit=True)
    names = vars(sys.modules["__main__"])
    names.update(__file__=path, __cached__=None)
    _exec(code, loader)


def _exec(code, loader):
    names = vars(sys.modules["__main__"])
    if loader is not None:
        names["__loader__"] = loader
    exec(code, names)


def _as_if_alone(error):
    """Lets the traceback of an error begin in the program: the frames of this file and of runpy are not its own."""
    ours = (__file__, "<frozen runpy>")
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    theirs = sys.excepthook

    def once(kind, value, _):
        sys.excepthook = theirs
        theirs(kind, value.with_traceback(traceback), traceback)

    # The frames are added again on the way out. The interpreter calls the hook when the error has come out.
    sys.excepthook = once
