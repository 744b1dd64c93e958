"""Contexts and start methods: whose classes they are, what is the default, and what of a program travels."""

import concurrent.futures
import importlib
import multiprocessing

import pytest

import allcores.multiprocessing as mp

STATE_OF_STOCK = ["process", "util", "resource_tracker", "resource_sharer", "shared_memory", "dummy", "dummy.connection"]


def square(number):
    return number * number


def test_names_are_those_of_the_interpreter():
    assert set(multiprocessing.__all__) <= set(mp.__all__)
    for name in multiprocessing.__all__:
        assert hasattr(mp, name)


@pytest.mark.parametrize("name", STATE_OF_STOCK)
def test_modules_with_state_are_the_interpreters(name):
    stock = importlib.import_module(f"multiprocessing.{name}")
    assert importlib.import_module(f"allcores.multiprocessing.{name}") is stock


def test_classes_extend_the_interpreters(ctx):
    method = ctx.get_start_method()
    stock = multiprocessing.get_context(method)
    assert isinstance(ctx, type(stock)) and isinstance(ctx, multiprocessing.context.BaseContext)
    assert issubclass(ctx.Process, stock.Process) and issubclass(mp.Process, multiprocessing.Process)
    process = ctx.Process(target=square, args=(1,))
    process.start()
    assert process in multiprocessing.active_children() or process.exitcode is not None
    process.join()
    assert process not in multiprocessing.active_children()


def test_pool(ctx):
    with ctx.Pool(2) as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert pool.map(square, range(10)) == [n * n for n in range(10)]


def test_executor(ctx):
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(10))) == [n * n for n in range(10)]


def test_manager(ctx):
    with ctx.Manager() as manager:
        shared = manager.dict()
        shared["key"] = 1
        assert dict(shared) == {"key": 1}


PROGRAM = """
from allcores import multiprocessing as mp

def answer():
    return 42

if __name__ == "__main__":
    process = mp.Process(target=answer)
    process.start()
    print(mp.get_start_method(), process.result())
"""


def test_default_is_a_fork_server(run_script):
    assert run_script(PROGRAM).ok() == "forkserver 42\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_environment_names_the_default(run_script, method):
    assert run_script(PROGRAM, env={"ALLCORES_START_METHOD": method}).ok() == f"{method} 42\n"


def test_environment_names_nonsense(run_script):
    ended = run_script(PROGRAM, env={"ALLCORES_START_METHOD": "thread"})
    assert ended.code == 1 and "ALLCORES_START_METHOD is 'thread'" in ended.stderr


def test_installed_default_is_the_interpreters(run_script):
    program = PROGRAM.replace("from allcores import multiprocessing as mp", "import multiprocessing as mp")
    default = multiprocessing.get_all_start_methods()[0]
    assert run_script(program, flags=["-m", "allcores"]).stdout == f"{default} 42\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_main_as_a_module(run_script, tmp_path, method):
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = run_script(None, flags=["-m", "program"], env={"ALLCORES_START_METHOD": method})
    assert ended.ok() == f"{method} 42\n"


TYPED = """
from allcores import multiprocessing as mp
def answer(): return 42

process = mp.Process(target=answer)
try:
    process.start()
except Exception as error:
    print(type(error).__name__, "set_start_method('fork')" in str(error), "'answer'" in str(error))

mp.set_start_method("fork", force=True)
process = mp.Process(target=answer)
process.start()
print(process.result())
"""


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_main_that_cannot_travel(run_script, how):
    if how == "-c":
        ended = run_script(None, flags=["-c", TYPED])
    else:
        ended = run_script(None, flags=["-"], stdin=TYPED)
    assert ended.ok() == "PicklingError True True\n42\n"


def test_target_that_cannot_travel(run_script):
    ended = run_script(
        """
        from allcores import multiprocessing as mp
        if __name__ == "__main__":
            try:
                mp.Process(target=lambda: 1).start()
            except Exception as error:
                print("set_start_method('fork')" in str(error))
            # Whoever chose it gets the interpreter's own words.
            try:
                mp.get_context("forkserver").Process(target=lambda: 1).start()
            except Exception as error:
                print("set_start_method('fork')" in str(error))
        """
    )
    assert ended.ok() == "True\nFalse\n"


def test_main_is_imported_once_for_all_children(run_script):
    ended = run_script(
        """
        import os
        from allcores import multiprocessing as mp
        IMPORTED_BY = os.getpid()
        def who(): return IMPORTED_BY, os.getpid()
        if __name__ == "__main__":
            ctx = mp.get_context("forkserver")
            processes = [ctx.Process(target=who) for _ in range(3)]
            for process in processes: process.start()
            found = [process.result() for process in processes]
            importers = {importer for importer, _ in found}
            print(len(importers), os.getpid() in importers, [pid for _, pid in found] == [p.pid for p in processes])
        """
    )
    assert ended.ok() == "1 False True\n"


def test_main_with_a_thread_is_imported_by_each_child(run_script):
    ended = run_script(
        """
        import os, threading
        from allcores import multiprocessing as mp
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        def whole(): return thread.is_alive()
        if __name__ == "__main__":
            process = mp.get_context("forkserver").Process(target=whole)
            process.start()
            print(process.result())
        """
    )
    assert ended.ok() == "True\n"


def test_start_method_is_set_once():
    context = type(mp.context._default_context)()
    context.set_start_method("spawn")
    with pytest.raises(RuntimeError):
        context.set_start_method("fork")
    assert context.get_start_method() == "spawn"
    context.set_start_method(None, force=True)
    assert context.get_start_method(allow_none=True) is None
    with pytest.raises(ValueError):
        context.get_context("thread")
