"""What type checkers and `help()` make of the package. That the stubs have what the modules have: `cargo xtask test --step stubs`."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PACKAGE_PATH

TYPED = pathlib.Path(__file__).parent / "typed"


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What mypy says to each of the programs: file name → [(line, code)]."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("mypy")
    environment = dict(os.environ)
    # What is installed is found by its py.typed, as a user's mypy does.
    if not PACKAGE_PATH.startswith(sys.prefix):
        environment["MYPYPATH"] = PACKAGE_PATH
    programs = sorted(TYPED.glob("*.py"))
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--no-color-output", "--hide-error-context", "--no-pretty"]
    command += ["--config-file=", f"--cache-dir={folder / 'cache'}", *map(str, programs)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stderr, done.stdout + done.stderr
    found = {program.name: [] for program in programs}
    for file, line, code in re.findall(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.M):
        # A file of ours with an error is a name that is not there.
        found.setdefault(pathlib.Path(file).name, []).append((int(line), code))
    return found


def test_the_tour_is_well_typed(errors):
    assert errors["tour.py"] == []


def test_mistakes_are_seen(errors):
    lines = (TYPED / "mistakes.py").read_text().splitlines()
    wanted = [(number, line.rpartition("  # ")[2]) for number, line in enumerate(lines, 1) if "  # " in line]
    assert wanted and errors["mistakes.py"] == wanted


def test_the_stubs_are_free_of_errors(errors):
    assert set(errors) == {"mistakes.py", "tour.py"}


def test_the_tour_runs(run_script):
    run_script((TYPED / "tour.py").read_text()).ok()
