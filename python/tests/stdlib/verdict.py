"""Comparing outcomes with stock's: losses, deviations, and how much of what was tested is ours."""

import collections
import fnmatch
import pathlib
import tomllib

import names

HERE = pathlib.Path(__file__).resolve().parent
GOOD = ("pass", "xfail")


def _load():
    return tomllib.loads((HERE / "deviations.toml").read_text())


def _applies(rule, name, version):
    if not any(fnmatch.fnmatchcase(name, pattern) for pattern in rule["tests"]):
        return False
    short = tuple(map(int, version.split(".")[:2]))
    wanted = rule.get("versions")
    return not wanted or ".".join(map(str, short)) in wanted


def left_out(name, version):
    """Why a test is run on neither side, or None."""
    return next((rule["reason"] for rule in _load().get("left_out", []) if _applies(rule, name, version)), None)


def deviation(name, version):
    """The rule that explains why we differ from stock here, or None."""
    return next((rule for rule in _load().get("deviation", []) if _applies(rule, name, version)), None)


def known(name, version):
    """Whether a loss is on the list of those that are still to be mended."""
    return any(_applies(rule, name, version) for rule in _load().get("open", []))


def print_counts(statuses):
    counts = collections.Counter(statuses)
    print(", ".join(f"{count} {status}" for status, count in counts.most_common()))


def judge(results, stock, proof, runner, sampled_out, broken, once):
    """Prints the verdict; adds it to `results`; returns the exit code: 1 if anything is lost that no list names."""
    version = results["version"]
    ours = results["tests"]
    print_counts(it["status"] for it in ours.values())
    lost = [
        name
        for name, it in ours.items()
        if it["status"] not in GOOD and stock["tests"].get(name) in GOOD
    ]
    explained, losses, still_open, flaky = {}, [], [], []
    for name in lost:
        rule = deviation(name, version)
        if rule is not None:
            explained[name] = rule["reason"]
            continue
        # Alone, twice more: what fails beside others on a loaded machine is no loss.
        again = [] if once else [runner.alone(name)]
        if not once and again[0]["status"] not in GOOD:
            again.append(runner.alone(name))
        if any(it["status"] in GOOD for it in again):
            flaky.append(name)
        else:
            (still_open if known(name, version) else losses).append(name)
            if again:
                ours[name]["why"] = again[0]["why"] or ours[name]["why"]
    gained = [name for name, it in ours.items() if it["status"] in GOOD and stock["tests"].get(name) not in (*GOOD, "skip", None)]
    unneeded = [
        name
        for name, it in ours.items()
        if it["status"] in GOOD and (deviation(name, version) or known(name, version))
    ]
    results["verdict"] = dict(losses=losses, open=still_open, deviations=explained, flaky=flaky, gained=gained)

    _print_share(results, proof)
    if results["borrowed"]:
        print(f"private names looked up in the interpreter's modules: {len(results['borrowed'])}: {', '.join(results['borrowed'])}")
    for title, found in (
        ("stock passes, we do not, and it is explained (docs/conformance.md)", explained),
        ("lost beside others, passed alone", flaky),
        ("on the lists of deviations.toml, and passed", unneeded),
        ("stock fails here, we pass", gained),
    ):
        if found:
            print(f"{title}: {len(found)}")
            for name in found:
                print(f"    {name}")
    if sampled_out:
        print(f"not run in a sample: {len(sampled_out)} classes (cargo xtask conformance runs all)")
    for title, found in (("lost, known, still to be mended", still_open), ("LOSSES", losses)):
        if found:
            print(f"{title}: {len(found)}")
        for name in found:
            last = (ours[name]["why"].strip().splitlines() or [""])[-1]
            print(f"    {name} ({ours[name]['status']}): {last[:160]}")
    if not losses:
        print("no losses" if not still_open else "no new losses")
    return 1 if losses or broken else 0


def _print_share(results, proof):
    """How much of what was tested is ours, object by object."""
    by_name = collections.defaultdict(list)
    for row in proof:
        by_name[row["name"]].append(row)
    mine = {name for name, rows in by_name.items() if all(row["ours"] for row in rows)}
    share = collections.Counter()
    passed = collections.Counter()
    for name, it in results["tests"].items():
        suite, cls, _ = name.split("::")
        kind, objects = names.about(suite, cls)
        if kind == "proved":
            kind = "ours" if all(object in mine for object in objects) else "re-exported"
        share[kind] += 1
        passed[kind] += it["status"] in (*GOOD, "skip")
    print(f"objects that are ours: {len(mine)} of {len(by_name)}: {', '.join(sorted(mine))}")
    for name in sorted(set(by_name) - mine):
        row = next(row for row in by_name[name] if not row["ours"])
        print(f"    not ours: {name}: {row['note']}")
    proved = share["ours"] + share["re-exported"]
    if proved:
        print(f"tests of these objects that ran on ours: {share['ours']} of {proved} ({100 * share['ours'] / proved:.0f} %)")
    print(
        f"beside them: {share['mixin']} tests of threads and managers, which must pass as stock's without that proof, "
        f"and {share['later']} of what is the interpreter's, working on our parts"
    )
    results["share"] = {kind: [passed[kind], count] for kind, count in share.items()}
