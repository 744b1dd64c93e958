"""Makes of the figures in the target folder: a table of what was asked and measured, `docs/benchmarks.md`, and a page with charts.

The worse of two versions counts.
"""

import argparse
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Python is started with -P: what lies beside a script is not found by itself.
sys.path.insert(0, str(HERE))

import page  # noqa: E402

ROOT = HERE.parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
#: The guard: nothing may be slower than stock, but for what a measurement may err by.
GUARD = 0.9


def verdict(it):
    """("met" | "stretch" | "MISSED" | "seen", what was asked for) of one figure.

    Where the kernel may put both on one CPU or on two, and changes its mind, the figure is shown and not judged.
    """
    if "error" in it:
        return "FAILED", ""
    x = it["x"]["median"]
    if it["must"] is None and it["pin"] == "none":
        return "seen", "–"
    asked = it["must"] if it["must"] is not None else GUARD
    if it["stretch"] is not None and x >= it["stretch"]:
        return "stretch", asked
    return ("met" if x >= asked else "MISSED"), asked


def time_of(ns):
    if ns is None:
        return ""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def title(it):
    where = {"same": ", one CPU", "cross": ", two CPUs", "none": ", unpinned"}.get(it["pin"], "")
    return it["name"] + where


def peer_text(it):
    peer = it.get("peer")
    if not peer:
        return ""
    asked = f" (≥ {it['peer_must']})" if it.get("peer_must") else ""
    return f"{peer['median']:.2f}x {peer['name']}{asked}"


def line(it):
    """One figure in one line of a terminal."""
    where = f"{it['id']:3} {title(it):55}"
    if "error" in it:
        return f"{where} FAILED: {it['error'][:120]}"
    what, asked = verdict(it)
    ns = it["ns"]
    return (
        f"{where} {time_of(ns['stock']):>9} → {time_of(ns['allcores']):>9}  {it['x']['median']:6.2f}x "
        f"[{it['x']['least']:.2f}–{it['x']['most']:.2f}]  must {asked!s:<5} {what:8} {peer_text(it)}  others {it['others']:.0f} %"
    )


def collected():
    """{version: {"machine", "figures"}}, the oldest first."""
    found = {}
    for file in (TARGET / "python").glob("bench-*.json"):
        data = json.loads(file.read_text())
        if data["figures"]:
            found[data["machine"]["python"]] = data
    return dict(sorted(found.items(), key=lambda item: tuple(map(int, item[0].split(".")))))


def keys(data):
    seen = {}
    for version in data.values():
        for key in version["figures"]:
            seen.setdefault(key)
    order = {id: number for number, id in enumerate("T1 T2 T3 T4 T5 T6 T7 M1 M2 M3 M4 M5 M6 C1 C2 C3 C4 Q1 Q2 S1 Z".split())}
    return sorted(seen, key=lambda key: order.get(key.split()[0], 99))


def worst(data, key):
    """(version, figure) of the version in which it is worst."""
    there = [(version, it["figures"][key]) for version, it in data.items() if key in it["figures"]]
    return min(there, key=lambda pair: pair[1]["x"]["median"] if "x" in pair[1] else -1)


def summary(data):
    """What was asked against what was measured, the worse version; for the terminal."""
    rows, counts = [], {"stretch": 0, "met": 0, "MISSED": 0, "seen": 0, "FAILED": 0}
    for key in keys(data):
        version, it = worst(data, key)
        what, _ = verdict(it)
        counts[what] += 1
        rows.append(f"{version:8} {line(it)}")
    total = ", ".join(f"{count} {what}" for what, count in counts.items())
    return "\n".join(rows) + f"\n{total}"


def markdown(data):
    versions = list(data)
    out = []
    for version, it in data.items():
        m = it["machine"]
        built = "with PGO" if m["optimised"] else "without PGO"
        out.append(f"CPython {version} ({built}): {m['cpu']}, Linux {m['kernel']}, {m['date']}, load {m['load']} at the start.  ")
    head = "| id | task | must | stretch | " + " | ".join(f"{v}: stock → ours | x" for v in versions) + " | against the best peer |"
    out += ["", head, "|" + "---|" * (5 + 2 * len(versions))]
    for key in keys(data):
        figures = [data[version]["figures"].get(key) for version in versions]
        it = next(filter(None, figures))
        _, asked = verdict(it)
        _, bad = worst(data, key)
        cells = []
        for one in figures:
            if one is None:
                cells += ["", ""]
            elif "error" in one:
                cells += [f"failed: {one['error'][:60]}", ""]
            else:
                what, _ = verdict(one)
                mark = {"stretch": "**", "MISSED": "❌ "}.get(what, "")
                times = f"{time_of(one['ns']['stock'])} → {time_of(one['ns']['allcores'])}"
                cells += [times, f"{mark}{one['x']['median']:.2f}{'**' if mark == '**' else ''}"]
        must, stretch = ("–", "–") if it["must"] is None and it["pin"] == "none" else (it["must"] or "Z: 0.9", it["stretch"] or 1.0)
        out.append(
            f"| {it['id']} | {title(it)} | {must} | {stretch} | "
            + " | ".join(cells)
            + f" | {peer_text(bad)} |"
        )
    return "\n".join(out)


def put(text, table):
    """`text` with `table` between the marks."""
    begin, end = "<!-- table python -->", "<!-- end of table -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"docs/benchmarks.md has no '{begin}' with an '{end}' after it")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables and the page into docs/")
    options = parser.parse_args()
    data = collected()
    if not data:
        print("no figures yet: cargo xtask bench python makes them")
        return
    print(summary(data))
    html = page.html(data, keys(data))
    out = TARGET / "python" / "benchmarks.html"
    out.write_text(html)
    print(f"charts: {out}")
    if options.write:
        file = ROOT / "docs" / "benchmarks.md"
        file.write_text(put(file.read_text(), markdown(data)))
        (ROOT / "docs" / "benchmarks-python.html").write_text(html)
        print("docs/benchmarks.md and docs/benchmarks-python.html are new")


if __name__ == "__main__":
    main()
