"""Measures the Python package against stock and other packages: `cargo xtask bench python`.

Each figure is measured in a process of its own; one that hangs or fails costs itself alone. The outcome is kept as JSON below
the target folder, and `report.py` makes tables and a page of it.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))

#: Of each figure: how often every side has its turn, and about how long.
ROUNDS, SECONDS = 7, 0.03


def figures():
    import harness
    import messages  # noqa: F401
    import shared  # noqa: F401
    import starts  # noqa: F401
    import threads  # noqa: F401

    short = ".".join(map(str, sys.version_info[:2]))
    return [it for it in harness.FIGURES if not it.versions or short in it.versions]


def wanted(figure, part):
    """By id (`T1`, or `T` for all of them), or by a part of the name of more than two letters."""
    return figure.id.startswith(part) or (len(part) > 2 and part in figure.key)


def one(key, quick):
    import harness

    figure = next(it for it in figures() if it.key == key)
    rounds, seconds = (1, 0.001) if quick else (ROUNDS, SECONDS)
    if figure.id == "S1":
        rounds, seconds = (1, 0.001) if quick else (5, 0.15)
    elif "64 MB" in key and not quick:
        rounds, seconds = 5, 0.1
    print(json.dumps(harness.measure(figure, rounds, seconds)))
    sys.stdout.flush()
    # Threads and processes of all kinds are still there: they are ended by our group's end.
    os._exit(0)


def measured(figure, quick):
    command = [sys.executable, "-P", __file__, "--one", figure.key]
    # Files, not pipes: whoever is left over would hold a pipe open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command + ["--quick"] * quick, stdout=out, stderr=err, start_new_session=True)
        try:
            child.wait(90)
        except subprocess.TimeoutExpired:
            return {"error": "still running after 90 s"}
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        out.seek(0)
        err.seek(0)
        if child.returncode:
            return {"error": (err.read().strip().splitlines() or [f"exit code {child.returncode}"])[-1]}
        return json.loads(out.read().splitlines()[-1])


def machine():
    model = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    import sysconfig

    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} × {model}",
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "optimised": "--enable-optimizations" in options,
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="show that everything runs; no figures")
    parser.add_argument("--only", action="append", default=[], help="only figures with this id, such as T1 or T, or this in their name")
    parser.add_argument("--write", action="store_true", help="for report.py")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one, options.quick)
    chosen = [it for it in figures() if not options.only or any(wanted(it, part) for part in options.only)]
    if options.list:
        print("\n".join(it.key for it in chosen))
        return
    import report

    out = TARGET / "python" / f"bench-{platform.python_version()}.json"
    result = {"machine": machine(), "figures": {}}
    if options.only and out.is_file():
        # The others' figures stand.
        result["figures"] = json.loads(out.read_text())["figures"]
        for key in result["figures"].keys() - {it.key for it in figures()}:
            del result["figures"][key]
    began = time.monotonic()
    failed = 0
    print(f"CPython {platform.python_version()}: {len(chosen)} figures", flush=True)
    for figure in chosen:
        found = measured(figure, options.quick)
        result["figures"][figure.key] = {
            "id": figure.id, "name": figure.name, "pin": figure.pin, "must": figure.must, "stretch": figure.stretch,
            "peer_must": figure.peer, **found,
        }  # fmt: skip
        failed += "error" in found
        print(report.line(result["figures"][figure.key]), flush=True)
    print(f"took {time.monotonic() - began:.0f} s")
    if not options.quick:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
    if failed:
        sys.exit(f"{failed} figures could not be made")


if __name__ == "__main__":
    main()
