"""S1: starting processes, from programs of their own: what `__main__` imports is part of it."""

import os
import subprocess
import sys
import tempfile

from harness import Own, figure

PROGRAM = """
{imports}
import sys, time
{package}

def nothing():
    pass

if __name__ == "__main__":
    ctx = multiprocessing.get_context(sys.argv[1])
    def one():
        process = ctx.Process(target=nothing)
        process.start()
        process.join()
        assert process.exitcode == 0, process.exitcode
    one()
    began = time.perf_counter()
    for _ in range(int(sys.argv[2])):
        one()
    print(time.perf_counter() - began)
"""
PACKAGES = {"stock": "import multiprocessing", "allcores": "import allcores.multiprocessing as multiprocessing"}
HEAVY = "import asyncio, concurrent.futures, ctypes, decimal, email, http.client, json, logging, numpy, unittest, xml.dom.minidom"

#: Both have their bytecode, as what is installed has.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _sides(method, imports=""):
    folder = tempfile.mkdtemp(prefix="allcores-bench-")

    def made(name):
        path = os.path.join(folder, f"{name}.py")
        with open(path, "w") as file:
            file.write(PROGRAM.format(imports=imports, package=PACKAGES[name]))

        def run(n):
            command = [sys.executable, "-P", path, method, str(n)]
            ran = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, timeout=120)
            if ran.returncode:
                raise RuntimeError(ran.stderr[-2000:])
            return float(ran.stdout)

        return Own(run)

    return {name: made(name) for name in PACKAGES}


@figure("S1", "Process, fork: start, join", 1.15, 1.4)
def fork(_):
    return _sides("fork")


@figure("S1", "Process, forkserver, small main: start, join", 1.4, 3)
def forkserver(_):
    return _sides("forkserver")


@figure("S1", "Process, forkserver, heavy main: start, join", 2.5, 6)
def forkserver_heavy(_):
    return _sides("forkserver", HEAVY)


@figure("S1", "Process, spawn: start, join", 1.3, 1.9, versions=("3.13",))
def spawn(_):
    return _sides("spawn")
