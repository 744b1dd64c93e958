"""The interpreter ends while daemon threads wait, many times, for each kind of wait: see `finalisation.py`.

`cargo xtask finalisation --rounds 500` runs more rounds of it than `cargo xtask test` does.
"""

import os
import platform

import finalisation
import pytest

ROUNDS = int(os.environ.get("ALLCORES_FINALISATION_ROUNDS") or 15)
PATIENCE = 300
VERSION = platform.python_version()


@pytest.mark.parametrize("kind", finalisation.KINDS)
@pytest.mark.timeout(ROUNDS * PATIENCE)
def test_daemon_threads_wait_while_the_interpreter_ends(kind, run_script):
    # One round of children is as many interpreters as there are kinds, on each start method.
    rounds = ROUNDS if kind != "children" else (ROUNDS + 9) // 10
    failed = []
    print()
    for number in range(rounds):
        hung = ""
        try:
            ended = run_script(None, kind, number, flags=[finalisation.__file__], timeout=PATIENCE)
        except pytest.fail.Exception as late:
            hung = str(late)
        if hung or (ended.code, ended.stdout, ended.stderr) != (0, "", ""):
            failed.append(f"round {number}: {hung or ended.describe()}")
            print(failed[-1])
        if number + 1 == rounds or (number + 1) % 100 == 0 or hung:
            print(f"{kind}, CPython {VERSION}: {number + 1} of {rounds} rounds, {len(failed)} failed", flush=True)
        if hung:
            # All the others might, too.
            break
    assert not failed, f"{len(failed)} of {number + 1} rounds; the first: {failed[0]}"
