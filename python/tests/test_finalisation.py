"""The interpreter ends while daemon threads wait, many times, for each kind of wait: see `finalisation.py`.

`cargo xtask finalisation --rounds 500` runs more rounds of it than `cargo xtask test` does.
"""

import os

import finalisation
import pytest

ROUNDS = int(os.environ.get("ALLCORES_FINALISATION_ROUNDS") or 15)
PATIENCE = 300


@pytest.mark.parametrize("kind", finalisation.KINDS)
@pytest.mark.timeout(ROUNDS * PATIENCE)
def test_daemon_threads_wait_while_the_interpreter_ends(kind, run_script):
    # One round of children is as many interpreters as there are kinds, on each start method.
    rounds = ROUNDS if kind != "children" else (ROUNDS + 9) // 10
    for number in range(rounds):
        ended = run_script(None, kind, number, flags=[finalisation.__file__], timeout=PATIENCE)
        assert (ended.code, ended.stdout, ended.stderr) == (0, "", ""), f"round {number}: {ended.describe()}"
