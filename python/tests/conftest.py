"""What every test of the package may use.

- `ctx`: an allcores context, once for each start method. What a test starts must be a function of its module, since spawn
  and forkserver find it by name.
- `run_script`: a program in an interpreter of its own, with this package and this folder (for `asleep`) on its path.

A test that hangs fails after the time in `pyproject.toml` (pytest-timeout, by SIGALRM: a test that needs an alarm of its own
takes another signal). What `run_script` starts is killed after its own `timeout`, with all its children.
"""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

import allcores
import allcores.multiprocessing

START_METHODS = ("fork", "spawn", "forkserver")
#: The folder that holds the package under test: the source tree's, or an environment's site-packages.
PACKAGE_PATH = str(pathlib.Path(allcores.__file__).parents[1])
TESTS = str(pathlib.Path(__file__).parent)

if os.environ.get("ALLCORES_TEST_INSTALLED") and not PACKAGE_PATH.startswith(sys.prefix):
    raise pytest.UsageError(f"the installed package is to be tested, and {PACKAGE_PATH} was found")


@pytest.fixture(params=START_METHODS)
def ctx(request):
    """An allcores context for each start method."""
    return allcores.multiprocessing.get_context(request.param)


@pytest.fixture
def start_method(ctx):
    """The name of the start method of `ctx`."""
    return ctx.get_start_method()


@dataclass
class Finished:
    """How a program ended: exit code (negative: the signal), and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def ok(self):
        """Asserts that it ended well and wrote nothing to stderr; returns its stdout."""
        assert (self.code, self.stderr) == (0, ""), self.describe()
        return self.stdout

    def describe(self):
        return f"exit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def what_they_do(session):
    """The processes of a session: their commands, and where in the kernel each of their threads is."""
    lines = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) != session:
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            lines.append(f"{folder.name}: {command[:200]}")
            for task in (folder / "task").iterdir():
                state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                where = [(task / name).read_text().strip() for name in ("comm", "wchan", "syscall")]
                lines.append(f"    {task.name} {state} {' '.join(where)}")
        except OSError:
            continue  # It has ended meanwhile.
    return "\n".join(lines)


@pytest.fixture
def run_script(tmp_path):
    """A function that runs a program and returns how it ended.

    `code` is a program's text (indented as you like; it is written to a file, so that spawn finds its functions), or None if
    `flags` say what to run, e.g. `["-m", "allcores"]`. `flags` stand before the program, `args` after it.
    """
    count = 0

    def run(code, *args, python=sys.executable, flags=(), env=None, stdin="", timeout=200, cwd=None):
        nonlocal count
        command = [str(python), *flags]
        if code is not None:
            file = tmp_path / f"script{count or ''}.py"
            count += 1
            file.write_text(textwrap.dedent(code))
            command.append(str(file))
        command += map(str, args)
        path = os.pathsep.join(filter(None, [PACKAGE_PATH, os.environ.get("PYTHONPATH"), TESTS]))
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or tmp_path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **(env or {})},
            start_new_session=True,
        )
        try:
            stdout, stderr = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            doing = what_they_do(child.pid)
            # Each says where its threads are.
            os.killpg(child.pid, signal.SIGABRT)
            try:
                child.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
            stdout, stderr = child.communicate()
            late = Finished(child.returncode, stdout, stderr)
            pytest.fail(f"still running after {timeout} s: {' '.join(command)}\n{late.describe()}\n--- processes\n{doing}")
        finally:
            # Whoever it left behind would outlive the test.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        return Finished(child.returncode, stdout, stderr)

    return run
