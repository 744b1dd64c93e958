"""What every figure of `cargo xtask bench python` is measured by.

A figure has sides: stock, ours, and perhaps others; each can do its work `n` times and tell how long it took. Rounds go through
all the sides in turn, so that what disturbs the machine disturbs all; a ratio is taken in each round, and the median of the
ratios is what counts.
"""

import math
import os
import signal
import statistics
import time
import timeit
from dataclasses import dataclass, field

CPUS = sorted(os.sched_getaffinity(0))
#: Where the two that take part run: on one CPU, on one each, or wherever the kernel puts them.
PINS = ("same", "cross", "none")


@dataclass
class Figure:
    """A line of the table: a task, how its sides are made, and what is asked of us."""

    id: str
    name: str
    make: object
    must: float | None = None
    stretch: float | None = None
    pin: str = ""
    #: Ours against the best other package: at least this many times its speed.
    peer: float | None = None
    #: Only for these versions, such as 3.13.
    versions: tuple = ()
    #: Each round has sides of its own, and there are so many of them: where a pair of processes finds a rhythm, and the next
    #: pair another.
    fresh_rounds: int = 0

    @property
    def key(self):
        return f"{self.id} {self.name}" + (f" [{self.pin}]" if self.pin else "")


FIGURES = []
#: Where the figure that is being measured has its two parts: a thread that is started for it pins itself.
where = ""


def figure(id, name, must=None, stretch=None, pins=("",), judged=None, peer=None, **more):
    """Registers a function that makes the sides: `make(pin) -> {side: Side}`.

    Where there are several pins, `must` holds for those `judged` ({pin: (must, stretch)}), and the guard Z for the rest.
    """

    def register(make):
        for pin in pins:
            asked = (must, stretch) if judged is None else judged.get(pin, (None, None))
            FIGURES.append(Figure(id, name, make, *asked, pin=pin, peer=peer, **more))
        return make

    return register


def pin(where, partner=False):
    """Puts this process where it belongs."""
    if where == "same":
        os.sched_setaffinity(0, {CPUS[0]})
    elif where == "cross":
        os.sched_setaffinity(0, {CPUS[1 % len(CPUS)] if partner else CPUS[0]})


class Statement:
    """A side that is a statement, run in a loop as `timeit` does."""

    def __init__(self, statement, setup="pass", /, **names):
        self.timer = timeit.Timer(statement, setup, globals=names)

    def run(self, n):
        return self.timer.timeit(n)

    def close(self):
        pass


class Partner:
    """A process that does its part when told to: `body(n)` in the child for each `go(n)` in the parent.

    What tells it is a bare pipe, the same for every side.
    """

    def __init__(self, ctx, body, where):
        self.asked, self.ask = os.pipe()
        self.answered, self.answer = os.pipe()
        self.process = ctx.Process(target=self._serve, args=(body, where), daemon=True)
        self.process.start()
        os.read(self.answered, 1)

    def _serve(self, body, where):
        pin(where, partner=True)
        os.write(self.answer, b"!")
        while True:
            n = int.from_bytes(os.read(self.asked, 8), "little")
            result = body(n)
            os.write(self.answer, int(result or 0).to_bytes(8, "little"))

    def go(self, n):
        os.write(self.ask, n.to_bytes(8, "little"))

    def done(self):
        return int.from_bytes(os.read(self.answered, 8), "little")

    def close(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        for fd in (self.asked, self.ask, self.answered, self.answer):
            os.close(fd)


class Paired:
    """A side with partners: all are told to begin, then `body(n)` runs here and its time counts.

    `body` may return its own time.
    """

    def __init__(self, ctx, body, *bodies, where=""):
        self.partners = [Partner(ctx, their, where) for their in bodies]
        self.body = body

    def run(self, n):
        for partner in self.partners:
            partner.go(n)
        began = time.perf_counter()
        took = self.body(n)
        if took is None:
            took = time.perf_counter() - began
        for partner in self.partners:
            partner.done()
        return took

    def close(self):
        for partner in self.partners:
            partner.close()


class Own:
    """A side that is a function of `n` which tells its own time, or which is timed."""

    def __init__(self, body):
        self.body = body

    def run(self, n):
        began = time.perf_counter()
        took = self.body(n)
        return time.perf_counter() - began if took is None else took

    def close(self):
        pass


@dataclass
class Load:
    """The share of all CPUs that others used meanwhile, in per cent."""

    began: tuple = field(default_factory=lambda: Load._now())

    @staticmethod
    def _now():
        with open("/proc/stat") as file:
            numbers = [int(word) for word in file.readline().split()[1:]]
        # user nice system idle iowait irq softirq steal
        return sum(numbers[:8]), sum(numbers[:8]) - numbers[3] - numbers[4], _ours()

    def others(self):
        now = self._now()
        total, used, own = (after - before for after, before in zip(now, self.began))
        return max(0.0, 100 * (used - own) / total) if total else 0.0


def _ours():
    """Clock ticks that the processes of our group have used, with the children they have reaped."""
    group, ticks = os.getpgrp(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks


def calibrated(side, seconds):
    """How often to do the work so that it takes about so long."""
    n = 1
    while True:
        took = side.run(n)
        if took >= seconds / 8 or n >= 1 << 24:
            return max(1, math.ceil(n * seconds / max(took, 1e-9)))
        n = max(n * 2, min(n * 8, math.ceil(n * seconds / 8 / max(took, 1e-9))))


def close(sides):
    for side in sides.values():
        side.close()


def measure(figure, rounds, seconds):
    """The figure's times by side, the ratios stock/ours and peer/ours, and the others' load."""
    global where
    where = figure.pin
    pin(where)
    load = Load()
    sides = figure.make(figure.pin)
    counts = {name: calibrated(side, seconds) for name, side in sides.items()}
    times = {name: [] for name in sides}
    names = list(sides)
    if figure.fresh_rounds and rounds > 1:
        rounds = figure.fresh_rounds
    for number in range(rounds):
        if figure.fresh_rounds and number > 0:
            close(sides)
            sides = figure.make(figure.pin)
        # The other way round every other time: nobody is always the one after X.
        for name in names if number % 2 == 0 else reversed(names):
            times[name].append(sides[name].run(counts[name]) / counts[name] * 1e9)
    others = load.others()
    close(sides)

    def ratio(of):
        ratios = sorted(theirs / ours for theirs, ours in zip(times[of], times["allcores"]))
        return {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}

    peers = [name for name in names if name not in ("stock", "allcores", "limit")]
    best = min(peers, key=lambda name: statistics.median(times[name]), default=None)
    return {
        "ns": {name: statistics.median(values) for name, values in times.items()},
        "x": ratio("stock"),
        "peer": {"name": best, **ratio(best)} if best else None,
        "others": others,
        "rounds": rounds,
    }
