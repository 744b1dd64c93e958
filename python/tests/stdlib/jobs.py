"""Processes that run the tests, several at a time, each ended with all that it started when a test hangs."""

import concurrent.futures
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent


class Runner:
    def __init__(self, env, options):
        self.env = env
        self.jobs = options.jobs
        self.hang = options.hang
        self.wrap = options.wrap.split()
        self.outcomes = {}  # SUITE::CLASS::TEST → {status, why}
        self.seconds = {}  # SUITE::CLASS → how long it took
        self.borrowed = set()
        self._lock = threading.Lock()
        self._done = 0
        self._running = set()
        # Workers are sessions of their own: what ends us must end them.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)

    def _end(self, number, _frame):
        for pid in list(self._running):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os._exit(128 + number)

    def list(self, suites, stock):
        """({(suite, class): tests}, {suite: why it cannot be imported})"""
        listing, broken = {}, {}
        for suite in suites:
            events, _ = self._worker([suite, "--list"])
            for event in events:
                if "cls" in event:
                    listing[suite, event["cls"]] = event["tests"]
                elif event.get("fixture"):
                    broken[suite] = event["why"]
            if not any("cls" in event or "fixture" in event for event in events):
                broken[suite] = "nothing was listed"
        if stock is not None:
            # What exists with stock's modules and not with ours is lost, not absent.
            for name in stock["tests"]:
                suite, cls, test = name.split("::")
                if suite in suites and test not in listing.get((suite, cls), ()):
                    listing.setdefault((suite, cls), []).append(test)
        return listing, broken

    def run(self, plan):
        """Runs the tests of a plan {(suite, class): tests}; the outcomes are in `outcomes`."""
        # The longest first, as far as one knows: the many tests.
        order = sorted(plan.items(), key=lambda item: -len(item[1]))
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._class, suite, cls, tests) for (suite, cls), tests in order]
            for future in futures:
                future.result()

    def alone(self, name):
        """The outcome of one test, run by itself."""
        suite, cls, test = name.split("::")
        found, _, _ = self._some(suite, cls, [test])
        return found[test]

    def proof(self):
        """What `names.py` says, in a process of its own."""
        ran = subprocess.run(
            [*self.wrap, sys.executable, str(HERE / "names.py")], env=self.env, stdout=subprocess.PIPE, timeout=600, check=False
        )
        try:
            return json.loads(ran.stdout)
        except ValueError:
            return []

    def _class(self, suite, cls, tests):
        began = time.monotonic()
        found, borrowed, notes = self._some(suite, cls, tests)
        with self._lock:
            for test, outcome in found.items():
                self.outcomes[f"{suite}::{cls}::{test}"] = outcome
            self.seconds[f"{suite}::{cls}"] = time.monotonic() - began
            self.borrowed.update(borrowed)
            self._done += 1
            bad = [f"{test} ({it['status']})" for test, it in found.items() if it["status"] not in ("pass", "skip", "xfail")]
            if bad:
                more = f" and {len(bad) - 6} more" if len(bad) > 6 else ""
                print(f"[{self._done}] {suite}::{cls}: {', '.join(bad[:6])}{more}", flush=True)
            for note in notes:
                print(f"[{self._done}] {suite}::{cls}: {note}", flush=True)

    def _some(self, suite, cls, tests):
        """Outcomes of these tests, whatever hangs or dies: what comes after it is run by another process."""
        found, borrowed, notes = {}, [], []
        todo = list(tests)
        while todo:
            args = [suite, cls]
            for test in todo:
                args += ["--only", test]
            events, ended = self._worker(args)
            running, failed_fixture, interrupted = None, None, False
            for event in events:
                if "start" in event:
                    running = event["start"]
                elif "end" in event:
                    if running == event["end"]:
                        running = None
                    # A test with several bad parts tells of each; the first stands.
                    found.setdefault(event["end"], {"status": event["status"], "why": event["why"]})
                    interrupted = event.get("interrupted", False)
                elif "fixture" in event:
                    failed_fixture = event
                    notes.append(f"{event['fixture']}: {event['status']}")
                elif "done" in event:
                    borrowed = event["borrowed"]
            if running is not None and running not in found:
                found[running] = {"status": ended or "died", "why": f"ended by {ended}" if ended else "its process ended"}
            rest = [test for test in todo if test not in found]
            if rest and not interrupted and running is None:
                # Nothing says why: setUpClass, an import, or a process that ended between two tests.
                why = failed_fixture or {"status": ended or "died", "why": "its process ended"}
                for test in rest:
                    found[test] = {"status": why["status"], "why": why["why"]}
                rest = []
            todo = rest
        return {test: found[test] for test in tests if test in found}, borrowed, notes

    def _worker(self, args):
        """(events, "timeout" or None)"""
        folder = tempfile.mkdtemp(prefix="allcores-suite-")
        events = os.path.join(folder, "events")
        work = os.path.join(folder, "work")
        os.mkdir(work)
        # A pipe that has a name: what was written before a kill is in it, and there is somebody to read from the start.
        os.mkfifo(events)
        reader = os.open(events, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # -u: what a killed one has printed is there.
        command = [*self.wrap, sys.executable, "-P", "-u", str(HERE / "worker.py"), events, *args]
        with open(os.path.join(folder, "log"), "wb") as log:
            child = subprocess.Popen(
                command, env={**self.env, "TMPDIR": work}, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        self._running.add(child.pid)
        written, ended = self._until_its_end(child, reader)
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        self._running.discard(child.pid)
        written += drained(reader)
        os.close(reader)
        # A line that a kill has cut short says nothing.
        found = [json.loads(line) for line in written.split(b"\n")[:-1]]
        if not ({"done", "cls", "fixture"} & set(found[-1] if found else ())):
            with open(os.path.join(folder, "log"), errors="replace") as log:
                tail = log.read()[-6000:]
            how = ended or f"exit code {child.returncode}"
            for event in found[-1:]:
                if "start" in event:
                    found.append({"end": event["start"], "status": ended or "died", "why": f"{how}\n{tail}", "interrupted": True})
        shutil.rmtree(folder, ignore_errors=True)
        return found, ended

    def _until_its_end(self, child, reader):
        """(what it wrote, "timeout" or None)"""
        written, ended = b"", None
        process = os.pidfd_open(child.pid)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(reader, select.POLLIN)
        while True:
            # What it is wrapped in may make it wait for its beginning, however long.
            ready = dict(poll.poll(self.hang * 1000 if written else None))
            if process in ready:
                break
            new = drained(reader)
            written += new
            if reader in ready and not new:
                # Nobody has it open any longer: the end is all there is to wait for. What had it open may yet be running.
                poll.unregister(reader)
            if not ready:
                ended = "timeout"
                # faulthandler writes the stacks of all threads to the log.
                os.killpg(child.pid, signal.SIGABRT)
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                break
        os.close(process)
        return written, ended


def drained(reader):
    """All that is in a pipe now."""
    parts = []
    try:
        while part := os.read(reader, 1 << 16):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)
