"""Runs CPython's own tests of threading, queue and multiprocessing on our modules, and compares with the interpreter's.

    cargo xtask conformance                        every version found, everything
    cargo xtask conformance --python 3.13 --only Queue   tests whose SUITE::CLASS::TEST contains this
    cargo xtask conformance --stock                the baseline: the interpreter's own modules

It must run in a virtual environment in which the package is installed (xtask makes one). Every class of tests runs in a
process of its own. A test that stock passes and we do not is a loss, if it is lost twice more when it runs alone; a loss
that `deviations.toml` explains is allowed, any other ends in exit code 1.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import sysconfig
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import jobs  # noqa: E402
import names  # noqa: E402
import verdict  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[2] / "target"))
SUITES = ("threading", "queue", "mp_fork", "mp_spawn", "mp_forkserver", "main", "futures")
#: Not every installation has these.
NEEDS = {"futures": "test.test_concurrent_futures", "main": "test.test_multiprocessing_main_handling"}
#: A sample takes a class that stock needs fewer seconds for, and of multiprocessing's only what is about our objects.
SAMPLE_SECONDS = 6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", action="store_true", help="run the interpreter's own modules, and keep the baseline")
    parser.add_argument("--sample", action="store_true", help="only classes that are quick")
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this suite")
    parser.add_argument("--only", action="append", default=[], help="only tests whose SUITE::CLASS::TEST contains this")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at a time")
    parser.add_argument("--hang", type=int, default=150, help="seconds after which a test is taken for hung")
    parser.add_argument("--once", action="store_true", help="do not run again, alone, what is lost")
    parser.add_argument("--wrap", default="", help="a command to run each process with, such as 'nice -n 5'")
    parser.add_argument("--package", help="the folder that has the package, if it is not installed")
    parser.add_argument("--out", type=pathlib.Path, help="where the outcomes go, as JSON")
    parser.add_argument("--merge", action="store_true", help="keep what the file of --out tells of other tests")
    return parser.parse_args()


def hook():
    """Lets every interpreter of this environment substitute our modules, if it is told to by the environment."""
    if sys.prefix == sys.base_prefix:
        sys.exit("run.py: this must run in a virtual environment: the children find our modules through its .pth file")
    line = (
        "import os, sys; p = os.environ.get('ALLCORES_CONFORMANCE'); "
        "p and (sys.path.extend(p.split(os.pathsep)), __import__('allcores_substitute'))\n"
    )
    file = pathlib.Path(sysconfig.get_path("purelib")) / "allcores_conformance.pth"
    if not file.is_file() or file.read_text() != line:
        file.write_text(line)


def environment(options):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ALLCORES"))}
    env["PYTHONHASHSEED"] = "random"
    if not options.stock:
        env["ALLCORES_CONFORMANCE"] = os.pathsep.join(filter(None, [str(HERE), options.package]))
    return env


def version():
    return platform.python_version()


def baseline_file():
    committed = HERE / "baseline" / f"{version()}.json"
    return committed if committed.is_file() else TARGET / "python" / f"baseline-{version()}.json"


def baseline():
    """Stock's outcomes: those committed for this very version, or else made now and kept in the target folder."""
    file = baseline_file()
    if not file.is_file():
        print(f"there is no baseline of {version()}: running stock first", flush=True)
        subprocess.run([sys.executable, "-P", __file__, "--stock", "--out", str(file)], check=True)
    return json.loads(file.read_text())


def chosen(listing, options, stock):
    """The jobs to run: {(suite, class): tests}; and those left out by a sample."""
    plan, left_out = {}, []
    for (suite, cls), tests in listing.items():
        tests = [test for test in tests if all_or_some(options.only, f"{suite}::{cls}::{test}")]
        tests = [test for test in tests if not verdict.left_out(f"{suite}::{cls}::{test}", version())]
        if not tests:
            continue
        if options.sample:
            seconds = stock["seconds"].get(f"{suite}::{cls}", 0)
            kind, _ = names.about(suite, cls)
            if seconds > SAMPLE_SECONDS or (suite not in ("threading", "queue") and kind != "proved"):
                left_out.append(f"{suite}::{cls}")
                continue
        plan[suite, cls] = tests
    return plan, left_out


def all_or_some(parts, text):
    return not parts or any(part in text for part in parts)


def main():
    options = arguments()
    hook()
    stock = None if options.stock else baseline()
    env = environment(options)
    began = time.monotonic()
    runner = jobs.Runner(env, options)
    suites = [it for it in options.suite or SUITES if it not in NEEDS or importlib.util.find_spec(NEEDS[it])]
    listing, broken = runner.list(suites, None if options.stock else stock)
    plan, sampled_out = chosen(listing, options, stock)
    total = sum(map(len, plan.values()))
    print(f"CPython {version()}: {total} tests in {len(plan)} classes, {options.jobs} at a time", flush=True)
    runner.run(plan)
    results = {
        "version": version(),
        "modules": "stock" if options.stock else "allcores",
        "tests": dict(sorted(runner.outcomes.items())),
        "seconds": {key: round(value, 1) for key, value in sorted(runner.seconds.items())},
    }
    for suite, why in broken.items():
        print(f"{suite}: cannot be imported\n{why}")
    print(f"took {time.monotonic() - began:.0f} s")
    out = options.out or TARGET / "python" / f"conformance-{version()}.json"
    code = 0
    if options.stock:
        # The reasons are long, and of no use in a baseline.
        results["tests"] = {name: it["status"] for name, it in results["tests"].items()}
        if options.out is None and not (options.only or options.suite or options.sample):
            out = HERE / "baseline" / f"{version()}.json"
        verdict.print_counts(results["tests"].values())
    else:
        proof = runner.proof()
        results["proof"] = proof
        results["borrowed"] = sorted(runner.borrowed)
        code = verdict.judge(results, stock, proof, runner, sampled_out, broken, options.once)
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.merge and out.is_file():
        before = json.loads(out.read_text())
        for part in ("tests", "seconds"):
            results[part] = {**before[part], **results[part]}
    out.write_text(json.dumps(results, indent=0, sort_keys=True) + "\n")
    print(f"the outcome of every test: {out}")
    sys.exit(code)


if __name__ == "__main__":
    main()
