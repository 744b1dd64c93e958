"""Puts the outcome of whole runs into docs/conformance.md: `document.py [FILE…]`, otherwise those in the target folder."""

import collections
import json
import os
import pathlib
import sys

import names
import verdict

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def losses(data, stock):
    """(explained, not explained): what stock passes and we do not."""
    explained, rest = [], []
    for name, it in data["tests"].items():
        if it["status"] not in verdict.GOOD and stock.get(name) in verdict.GOOD:
            (explained if verdict.deviation(name, data["version"]) else rest).append(name)
    return explained, [name for name in rest if name not in data["verdict"].get("flaky", ())]


def section(data):
    version = data["version"]
    stock = json.loads((HERE / "baseline" / f"{version}.json").read_text())["tests"]
    explained, rest = losses(data, stock)
    by_name = collections.defaultdict(list)
    for row in data["proof"]:
        by_name[row["name"]].append(row["ours"])
    mine = sorted(name for name, all_ours in by_name.items() if all(all_ours))
    others = sorted(set(by_name) - set(mine))
    out = [
        f"### CPython {version}",
        "",
        "| suite | tests | stock passes | we pass | deviations | lost |",
        "|---|---|---|---|---|---|",
    ]
    for suite in ("threading", "queue", "mp_fork", "mp_spawn", "mp_forkserver", "main", "futures"):
        ran = {name: it for name, it in data["tests"].items() if name.startswith(suite + "::")}
        if not ran:
            out.append(f"| {suite} | not run | | | | |")
            continue
        good = sum(it["status"] in verdict.GOOD for it in ran.values())
        before = sum(stock.get(name) in verdict.GOOD for name in ran)
        count = [sum(name in ran for name in found) for found in (explained, rest)]
        out.append(f"| {suite} | {len(ran)} | {before} | {good} | {count[0]} | {count[1]} |")
    kinds = collections.Counter()
    for name in data["tests"]:
        suite, cls, _ = name.split("::")
        kind, objects = names.about(suite, cls)
        kinds["ours" if kind == "proved" and all(it in mine for it in objects) else kind] += 1
    proved = kinds["ours"] + kinds["proved"]
    out += [
        "",
        f"Ours, by type and operations: {len(mine)} of {len(by_name)} objects ({', '.join(mine)})."
        + (f" Not ours, so tests of them count as nothing: {', '.join(others)}." if others else ""),
        "",
        f"Tests of these objects that ran on ours: {kinds['ours']} of {proved} ({100 * kinds['ours'] // max(proved, 1)} %). "
        f"Beside them {kinds['mixin']} of threads and managers and {kinds['later']} of what is the interpreter's on our parts.",
        "",
    ]
    if data.get("borrowed"):
        out += [f"Private names looked up in the interpreter's modules: {', '.join(f'`{it}`' for it in data['borrowed'])}.", ""]
    if rest:
        out += ["Lost, still to be mended:", ""]
        out += [f"- `{name}` ({data['tests'][name]['status']})" for name in rest]
        out.append("")
    return "\n".join(out)


def main():
    files = [pathlib.Path(it) for it in sys.argv[1:]] or sorted((TARGET / "python").glob("conformance-*.json"))
    page = ROOT / "docs" / "conformance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    sections = "\n".join(section(json.loads(file.read_text())) for file in files)
    page.write_text(f"{before}{BEGIN}\n{sections}{END}{after}")
    print(f"{page} is new")


if __name__ == "__main__":
    main()
