"""`install()`, `python -m allcores`, and interpreters that cannot have the package's own parts."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

import allcores

PACKAGE_PATH = str(pathlib.Path(allcores.__file__).parents[1])

STOCK_DEFAULT = "forkserver" if sys.version_info >= (3, 14) else "fork"

# Modules whose names may be changed, as a program sees them: what their public names are bound to.
SNAPSHOT = """
import multiprocessing.queues, multiprocessing.synchronize, multiprocessing.connection, multiprocessing.pool
import multiprocessing.sharedctypes, multiprocessing.managers, multiprocessing.shared_memory, queue, sys, threading

def snapshot():
    names = [n for n in sys.modules if n.partition(".")[0] in ("threading", "queue", "multiprocessing")]
    return {n: dict(vars(sys.modules[n])) for n in names}
"""


# -- install and uninstall


def test_install_binds_the_public_names_and_uninstall_restores_each(run_script):
    out = run_script(
        SNAPSHOT
        + textwrap.dedent("""
        before = snapshot()
        import allcores
        import allcores.multiprocessing.queues, allcores.queue, allcores.threading
        allcores.install()
        allcores.install()
        assert threading.Lock is allcores.threading.Lock
        assert threading.Thread is allcores.threading.Thread
        assert queue.Queue is allcores.queue.Queue
        assert queue.SimpleQueue is allcores.queue.SimpleQueue
        assert queue.ShutDown is allcores.queue.ShutDown
        assert multiprocessing.queues.Queue is allcores.multiprocessing.queues.Queue
        assert multiprocessing.Process is allcores.multiprocessing.Process
        assert multiprocessing.queues is sys.modules["multiprocessing.queues"]
        for name, module in before.items():
            assert sys.modules[name].__spec__ is module["__spec__"], name
        allcores.uninstall()
        allcores.uninstall()
        after = snapshot()
        for name, names in before.items():
            changed = {n for n in names.keys() | after[name].keys() if names.get(n) is not after[name].get(n)}
            assert not changed, (name, changed)
        allcores.install()
        assert threading.Lock is allcores.threading.Lock
        print("end")
        """)
    )
    assert out.ok() == "end\n"


def test_what_was_bound_before_stays_and_keeps_working(run_script):
    out = run_script("""
        import queue, threading
        from queue import PriorityQueue as OldQueue
        from threading import Condition as OldCondition, Thread as OldThread, Timer as OldTimer

        class Worker(threading.Thread):
            def __init__(self, *args):
                threading.Thread.__init__(self, name="worker")
                self.args = args

            def run(self):
                done.put(self.args)

        class Newest(queue.LifoQueue):
            def __init__(self):
                queue.LifoQueue.__init__(self, 5)

        old_queue, old_lock, old_condition = OldQueue(), threading.Lock(), OldCondition()
        old_queue.put(3)
        old_lock.acquire()

        import allcores
        allcores.install()

        done = queue.SimpleQueue()
        Worker(1, 2).start()
        assert done.get() == (1, 2)
        timer = OldTimer(0, done.put, ["timer"])
        timer.start()
        assert done.get() == "timer"
        timer.join()
        thread = OldThread(target=lambda: done.put(old_queue.get()))
        thread.start()
        assert done.get() == 3
        thread.join()
        assert isinstance(threading.current_thread(), OldThread)
        assert isinstance(threading.current_thread(), threading.Thread)
        assert old_lock.locked()
        old_lock.release()
        with old_condition:
            old_condition.notify_all()
        newest = Newest()
        newest.put(1); newest.put(2)
        assert newest.get() == 2 and newest.maxsize == 5
        class Later(threading.Thread):
            def run(self):
                done.put("later")
        Later(daemon=True).start()
        assert done.get() == "later"

        # A thread that the interpreter did not start.
        import _thread
        seen = queue.SimpleQueue()
        _thread.start_new_thread(lambda: seen.put(threading.current_thread().name), ())
        assert "Dummy" in seen.get()
        print("end")
    """)
    assert out.ok() == "end\n"


def test_modules_that_are_imported_later_are_changed_then(run_script):
    out = run_script("""
        import sys, allcores
        allcores.install()
        assert "allcores.multiprocessing" not in sys.modules and "multiprocessing" not in sys.modules
        import multiprocessing as mp
        assert mp.__name__ == mp.__spec__.name == "multiprocessing", mp.__spec__
        assert mp.Queue.__func__.__module__ == "allcores.multiprocessing.context"
        assert "allcores.multiprocessing.queues" not in sys.modules
        import multiprocessing.queues
        assert mp.queues is sys.modules["multiprocessing.queues"]
        from multiprocessing.queues import Queue
        assert Queue.__module__ == "allcores.multiprocessing.queues"
        # In the other order.
        from allcores.multiprocessing.synchronize import Lock as mine
        from multiprocessing.synchronize import Lock
        assert Lock is mine
        allcores.uninstall()
        from multiprocessing.synchronize import Lock
        assert Lock.__module__ == "multiprocessing.synchronize"
        assert mp.Queue.__func__.__module__ == "multiprocessing.context"
        print("end")
    """)
    assert out.ok() == "end\n"


# -- python -m allcores


FAITHFUL = {
    "names": """
        import sys
        main = sys.modules["__main__"]
        print(sys.argv, sys.path[0], __name__, __file__, __spec__, __package__, __doc__, type(__loader__).__name__)
        print(vars(main) is globals(), sorted(n for n in globals()), sys.flags)
    """,
    "doc": '"""The documentation."""\nprint(__doc__)',
    "exit code": "import sys; sys.exit(7)",
    "exit text": "import sys; sys.exit('a reason')",
    "error": """
        def inner():
            return {}["missing"]
        def outer():
            try:
                inner()
            except KeyError as error:
                raise RuntimeError("outer") from error
        outer()
    """,
    "syntax error": "x = (",
    "error group": "raise ExceptionGroup('some', [ValueError(1), KeyError('a')])",
    "interrupt": "raise KeyboardInterrupt",
    "hook": """
        import sys
        sys.excepthook = lambda kind, value, traceback: print("hook", kind, value, traceback.tb_lineno, traceback.tb_next)
        1 / 0
    """,
    "exit in hook": """
        import sys
        sys.excepthook = lambda *_: sys.exit(9)
        1 / 0
    """,
    "exit handlers": """
        import atexit, sys, threading
        atexit.register(lambda: print("atexit", sys.modules["__main__"].value))
        value = 1
        gate = threading.Event()
        def late():
            gate.wait()
            print("thread", sys.modules["__main__"].value, value)
        threading.Thread(target=late).start()
        gate.set()
    """,
    "error in thread": """
        import sys, threading
        threading.excepthook = lambda args: print(args.exc_type, args.thread.name)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    """,
}


def same(plain, ours):
    assert (ours.code, ours.stdout, ours.stderr) == (plain.code, plain.stdout, plain.stderr)


@pytest.mark.parametrize("name", FAITHFUL)
def test_a_script_runs_as_it_does_alone(name, tmp_path, run_script):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(FAITHFUL[name]))
    for where in (str(script), "program.py"):
        plain = run_script(None, where, "-x", "arg", cwd=tmp_path)
        ours = run_script(None, where, "-x", "arg", flags=["-m", "allcores"], cwd=tmp_path)
        same(plain, ours)


def test_a_module_runs_as_it_does_alone(tmp_path, run_script):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    code = "import sys; print(sys.argv, sys.path[0], __name__, __spec__.name, __package__)\nif len(sys.argv) > 1: 1 / 0"
    (package / "__main__.py").write_text(code)
    (package / "tool.py").write_text(code)
    for arguments in (["-m", "package"], ["-m", "package.tool"], ["-m", "package.tool", "1"], ["-mpackage.tool"]):
        plain = run_script(None, flags=arguments, cwd=tmp_path)
        ours = run_script(None, flags=["-m", "allcores", *arguments], cwd=tmp_path)
        assert (ours.code, ours.stdout) == (plain.code, plain.stdout)
        assert ours.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]
    for arguments in (["-m", "no_such_module"], ["package"], ["no_such_file.py"], ["-c", "import sys; print(sys.argv)", "1"]):
        same(run_script(None, *arguments, cwd=tmp_path), run_script(None, "-m", "allcores", *arguments, cwd=tmp_path))


def test_what_cannot_be_run_is_said(run_script):
    for arguments, said in (([], "no program"), (["-m"], "needs an argument"), (["--what"], "is not an option")):
        out = run_script(None, "-m", "allcores", *arguments)
        assert out.code == 2 and said in out.stderr and "usage" in out.stderr, out.describe()
    assert "ALLCORES_START_METHOD" in run_script(None, "-m", "allcores", "--help").ok()
    assert allcores.__version__ in run_script(None, "-m", "allcores", "--version").ok()


def test_an_interrupted_program_dies_by_the_signal(tmp_path, run_script):
    out = run_script("raise KeyboardInterrupt", flags=["-m", "allcores"])
    assert out.code == -signal.SIGINT


# -- children

FAMILY = """
    import json, os, queue, subprocess, sys, threading
    import multiprocessing
    from multiprocessing import Process

    def kinds(generation, results):
        kinds = [threading.Lock.__module__, type(threading.Event()).__name__, queue.Queue.__module__]
        kinds += [Process.__module__, multiprocessing.Process.__module__, type(results).__module__]
        results.put((generation, kinds, threading.Condition is sys.modules["allcores.threading"].Condition))
        if generation < 2:
            child = Process(target=kinds_of_child, args=(generation + 1, results))
            child.start()
            child.join()
            assert child.exitcode == 0

    kinds_of_child = kinds

    if __name__ == "__main__":
        if len(sys.argv) > 1:
            multiprocessing.set_start_method(sys.argv[1])
        results = multiprocessing.Queue()
        kinds(0, results)
        found = [results.get(timeout=100) for _ in range(3)]
        assert [f[0] for f in found] == [0, 1, 2]
        assert found[0][1:] == found[1][1:] == found[2][1:], found
        assert all(f[2] for f in found)
        print(json.dumps([found[0][1], multiprocessing.get_start_method()]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("flags", [[], ["-E", "-S"], ["-I"]], ids=["plain", "-E -S", "-I"])
def test_children_inherit_it(method, flags, tmp_path, run_script):
    script = tmp_path / "family.py"
    script.write_text(textwrap.dedent(FAMILY))
    # With these flags, PYTHONPATH is nothing.
    start = f"""
import sys
sys.path.insert(0, {PACKAGE_PATH!r})
sys.argv[1:1] = [{str(script)!r}]
from allcores._run import main
main()
"""
    starter = tmp_path / "starter.py"
    starter.write_text(start)
    if flags:
        out = run_script(None, *flags, starter, method)
    else:
        out = run_script(None, "-m", "allcores", script, method)
    kinds, found = json.loads(out.ok())
    assert found == method
    assert all(kind.startswith("allcores.") for kind in kinds[2:]), kinds


def test_the_default_start_method_is_the_interpreters(tmp_path, run_script):
    script = tmp_path / "family.py"
    script.write_text(textwrap.dedent(FAMILY))
    for named, expected in ((None, STOCK_DEFAULT), ("spawn", "spawn")):
        env = {"ALLCORES_START_METHOD": named} if named else {}
        out = run_script(None, "-m", "allcores", script, env=env)
        assert json.loads(out.ok())[1] == expected


def test_programs_of_subprocess_run_as_they_are(run_script):
    out = run_script(
        """
        import subprocess, sys, threading
        assert "allcores.threading" in sys.modules
        code = "import sys, threading; print('allcores' in sys.modules)"
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
        """,
        flags=["-m", "allcores"],
    )
    assert out.ok() == "False\n"


# -- subinterpreters

SUBINTERPRETER = """
    import sys
    code = '''
    import sys
    sys.path.insert(0, FOLDER)
    import queue, threading, multiprocessing.queues
    import allcores, allcores.queue, allcores.multiprocessing.queues
    from allcores.threading import Thread
    assert allcores.threading is threading
    assert allcores.queue is queue
    assert allcores.multiprocessing is multiprocessing
    assert allcores.multiprocessing.queues is multiprocessing.queues
    assert threading.__spec__.name == "threading" and multiprocessing.__spec__.name == "multiprocessing"
    names = dict(vars(threading))
    allcores.install()
    assert vars(threading) == names
    allcores.uninstall()
    assert issubclass(allcores.OwnerDiedError, RuntimeError)
    assert allcores.__version__ == "1.2.3"
    # In a second subinterpreter it crashes CPython 3.12.
    assert "datetime" not in sys.modules
    '''
    import textwrap
    code = textwrap.dedent(code).replace("FOLDER", repr(sys.argv[1]))
    if len(sys.argv) > 2:
        import allcores.threading
    try:
        import _interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
        for isolated in (True, False):
            interpreters.run_string(interpreters.create(isolated=isolated), code)
    else:
        for kind in ("isolated", "legacy"):
            failed = _interpreters.exec(_interpreters.create(kind), code)
            assert failed is None, failed
    print("end")
"""


@pytest.mark.parametrize("first", [[], ["main first"]], ids=["alone", "after the main interpreter"])
def test_a_subinterpreter_has_the_interpreters_own_modules(first, tmp_path, run_script):
    (tmp_path / "allcores-1.2.3.dist-info").mkdir()
    assert run_script(SUBINTERPRETER, tmp_path, *first).ok() == "end\n"
    assert run_script(SUBINTERPRETER, tmp_path, *first, flags=["-m", "allcores"]).ok() == "end\n"


def test_a_broken_installation_is_an_error(tmp_path):
    package = tmp_path / "allcores"
    package.mkdir()
    for file in pathlib.Path(allcores.__file__).parent.glob("*.py"):
        (package / file.name).write_text(file.read_text())
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import allcores"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'allcores._allcores'" in done.stderr
