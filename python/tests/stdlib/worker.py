"""One class of CPython's tests, in a process of its own: `worker.py EVENTS SUITE CLASS [--only TEST]…`.

Writes a line of JSON to EVENTS, a pipe with a name, when a test begins and when it has ended, so that whoever kills us knows
which one hung.
With `EVENTS SUITE --list` it writes the classes of the suite and their tests.
"""

import argparse
import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PR_SET_PDEATHSIG = 1
SUITES = {
    "threading": "test.test_threading",
    "queue": "test.test_queue",
    "mp_fork": "mp_fork",
    "mp_spawn": "mp_spawn",
    "mp_forkserver": "mp_forkserver",
    "main": "test.test_multiprocessing_main_handling",
    "futures": "futures",
}


def classes_of(suite):
    """The test classes of a suite: {name: class}."""
    module = importlib.import_module(SUITES[suite])
    modules = getattr(module, "MODULES", {module.__name__})
    found = {}
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ in modules:
            if unittest.defaultTestLoader.getTestCaseNames(value):
                found[name] = value
    return found


class Recorder(unittest.TestResult):
    """Writes what becomes of each test, as it becomes known."""

    def __init__(self, events):
        super().__init__()
        self.events = events
        self.failing_parts = {}

    def emit(self, **event):
        # Unbuffered: a forked child that unwinds through us cannot write a line twice.
        os.write(self.events, (json.dumps(event) + "\n").encode())

    def outcome(self, test, status, why=""):
        name = getattr(test, "_testMethodName", None)
        if name is None:  # setUpModule, setUpClass and their like
            self.emit(fixture=test.id(), status=status, why=why)
        else:
            self.emit(end=name, status=status, why=why)

    def startTest(self, test):
        super().startTest(test)
        self.failing_parts[test.id()] = None
        self.emit(start=test._testMethodName)

    def text(self, test, error):
        return self._exc_info_to_string(error, test)[-4000:]

    def addSuccess(self, test):
        part = self.failing_parts.get(test.id())
        self.outcome(test, *(part or ("pass",)))

    def addFailure(self, test, error):
        self.outcome(test, "fail", self.text(test, error))

    def addError(self, test, error):
        self.outcome(test, "error", self.text(test, error))

    def addSkip(self, test, reason):
        self.outcome(test, "skip", reason)

    def addExpectedFailure(self, test, error):
        self.outcome(test, "xfail")

    def addUnexpectedSuccess(self, test):
        self.outcome(test, "fail", "succeeds, and is expected to fail")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            status = "fail" if issubclass(error[0], test.failureException) else "error"
            self.outcome(test, status, f"{subtest.id()}\n{self.text(test, error)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("events")
    parser.add_argument("suite")
    parser.add_argument("cls", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()

    # A runner that is killed takes us along.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Whoever started us in the background may have left these ignored, and tests send them to themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    faulthandler.enable()  # we are ended by SIGABRT when a test hangs
    sys.path.insert(0, os.path.join(HERE, "suites"))
    if os.environ.get("ALLCORES_CONFORMANCE"):
        import allcores_substitute

        allcores_substitute.apply()

    events = os.open(options.events, os.O_WRONLY | os.O_CLOEXEC)
    recorder = Recorder(events)
    owner = os.getpid()
    recorder.emit(began=True)
    try:
        found = classes_of(options.suite)
    except BaseException as error:
        import traceback

        recorder.emit(fixture="import", status="error", why="".join(traceback.format_exception(error))[-4000:])
        return
    if options.list:
        for name, cls in found.items():
            recorder.emit(cls=name, tests=unittest.defaultTestLoader.getTestCaseNames(cls))
        return
    cls = found.get(options.cls)
    if cls is None:
        recorder.emit(fixture="class", status="error", why=f"the class {options.cls} is not defined here")
        return
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(cls)
    chosen = [
        test
        for test in tests
        if not options.only or test._testMethodName in options.only
    ]
    unittest.TestSuite(chosen).run(recorder)
    if os.getpid() == owner:
        borrowed = sorted(allcores_substitute.BORROWED) if os.environ.get("ALLCORES_CONFORMANCE") else []
        recorder.emit(done=True, borrowed=borrowed)


if __name__ == "__main__":
    main()
