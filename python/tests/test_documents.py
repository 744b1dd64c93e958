"""The Python in the README and in docs/python.md runs as it stands."""

import pathlib
import re
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = [
    pytest.param(program, id=f"{name}-{number}")
    for name in ("README.md", "docs/python.md")
    for number, program in enumerate(re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S), 1)
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_runs(program, run_script):
    done = run_script(textwrap.dedent(program))
    assert done.code == 0 and "Traceback" not in done.stderr, done.describe()


def test_the_readme_has_the_tour():
    assert "t = Thread(target=func, args=(arg1, arg2,))\nt.start()\nt.join()" in (ROOT / "README.md").read_text()
