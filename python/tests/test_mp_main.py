"""A `__main__` that no child can import is an error of `start()`, where that can be known."""

import pytest

PROGRAM = """
import os, sys
import allcores.multiprocessing as mp

def said():
    print("child", flush=True)

if {guard}:
    context = mp.get_context(*sys.argv[1:])
    {before}
    process = context.Process(target=said)
    process.start()
    process.join()
    print("end", process.exitcode)
"""


def program(guard="__name__ == '__main__'", before="pass"):
    return PROGRAM.format(guard=guard, before=before)


@pytest.mark.parametrize("method", [(), ("forkserver",)], ids=["default", "forkserver"])
def test_an_unguarded_main_fails_in_start(method, run_script):
    ran = run_script(program(guard="True"), *method, env={"ALLCORES_START_METHOD": ""})
    assert ran.code == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: __main__ starts processes when it is imported")
    assert last.count("set_start_method('fork')") == 1 and "__name__" in last
    assert ran.stdout == ""
    # Nobody but the program itself has said anything.
    assert ran.stderr.count("Traceback") == 1 + ("another exception" in ran.stderr)


def test_every_start_says_so(run_script):
    again = program(guard="True", before='''
    for _ in range(2):
        try:
            context.Process(target=said).start()
        except RuntimeError as error:
            print(type(error).__name__)
            assert os.listdir("/proc/self/fd") == globals().setdefault("known", os.listdir("/proc/self/fd"))
            if hasattr(mp.process.current_process(), "_inheriting"):
                raise
''')
    ran = run_script(again, "forkserver")
    assert ran.stdout.splitlines()[-2:] == ["RuntimeError"] * 2
    assert ran.code == 1


def test_with_fork_it_need_not_be_guarded(run_script):
    ran = run_script(program(guard="True"), "fork")
    assert (ran.code, ran.stdout, ran.stderr) == (0, "child\nend 0\n", "")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_main_whose_file_is_gone_fails_in_start(method, run_script):
    ran = run_script(program(before="os.remove(__file__)"), method)
    assert ran.code == 1
    assert ran.stderr.splitlines()[-1].startswith("FileNotFoundError: [Errno 2] __main__ cannot be imported")
    assert "set_start_method('fork')" in ran.stderr
    assert ran.stdout == ""


def test_a_main_that_the_fork_server_has_may_go(run_script):
    first = "one = context.Process(target=said); one.start(); one.join(); os.remove(__file__)"
    ran = run_script(program(before=first), "forkserver")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["child", "child", "end 0"]
