"""The page with charts: one file of HTML and inline SVG that needs nothing else."""

import html as markup
import math

GROUPS = [
    ("T", "Threads: primitives, hand-overs, starts"),
    ("M", "Processes: shared primitives and values"),
    ("C", "Connections"),
    ("Q", "Queues between processes"),
    ("S", "Starting processes"),
    ("Z", "Guard: nothing slower than stock"),
]

STYLE = """
:root { color-scheme: light dark; --bg: #fbfaf7; --ink: #22252a; --soft: #6a6f78; --line: #dcd9d2; --good: #2f7d5b; --plain: #b98a2a;
  --bad: #b8433a; --peer: #7c6bb0; --must: #22252a; }
@media (prefers-color-scheme: dark) { :root { --bg: #17191d; --ink: #e6e4df; --soft: #989da6; --line: #33373e; --good: #58b98c;
  --plain: #d9ae55; --bad: #e0766c; --peer: #a797dd; --must: #f4f2ec; } }
body { background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 2rem 1rem; max-width: 62rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .4rem; }
p { color: var(--soft); margin: .2rem 0; }
.wide { overflow-x: auto; } svg { display: block; width: 100%; min-width: 46rem; height: auto; font: 12px system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
text { fill: var(--ink); } .soft { fill: var(--soft); } .grid { stroke: var(--line); } .one { stroke: var(--soft); stroke-width: 1.5; }
.stretch, .met { fill: var(--good); } .met { opacity: .55; } .MISSED { fill: var(--bad); } .seen { fill: var(--soft); opacity: .5; } .must { stroke: var(--must); stroke-width: 2; }
.goal { stroke: var(--must); stroke-width: 1.5; stroke-dasharray: 2 2; } .spread { stroke: var(--ink); opacity: .55; } .peer { fill: var(--peer); }
.key { margin-top: .8rem; } .key span { display: inline-block; margin-right: 1.2rem; white-space: nowrap; }
.key i { display: inline-block; box-sizing: border-box; width: .8rem; height: .8rem; margin-right: .4rem; vertical-align: -1px; }
.key .bar { width: 0; border-left: 2px solid var(--must); } .key .dots { width: 0; border-left: 2px dotted var(--must); }
.key .dot { border-radius: 50%; background: var(--peer); } .key .dash { height: 0; border-top: 1px solid var(--ink); vertical-align: .3em; }
details { margin-top: .4rem; color: var(--soft); overflow-x: auto; } summary { cursor: pointer; } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem .15rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); } .n, th.n { text-align: right; }
"""

LEFT, RIGHT, BAR, GAP = 300, 190, 13, 10
WIDTH = 900


def _escape(text):
    return markup.escape(str(text))


class Scale:
    """Times as fast as stock → a place, by logarithm."""

    def __init__(self, values):
        self.low = min(0.4, *(value * 0.85 for value in values))
        self.high = max(3, *(value * 1.15 for value in values))

    def __call__(self, value):
        span = math.log(self.high / self.low)
        part = math.log(min(max(value, self.low), self.high) / self.low) / span
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        """Where the lines go: as many as have room for their labels, and one at stock."""
        chosen = [1]
        for tick in (10, 100, 0.1, 2, 5, 0.5, 20, 50, 0.2, 200, 500):
            apart = all(
                abs(self(tick) - self(other)) > 8 + 3.5 * len(self.label(tick) + self.label(other)) for other in chosen
            )
            if self.low <= tick <= self.high and apart:
                chosen.append(tick)
        return sorted(chosen)

    @staticmethod
    def label(tick):
        return "stock" if tick == 1 else f"{tick:g}×"


def _chart(rows, versions):
    from report import time_of, title, verdict

    values = []
    for _, figures in rows:
        for it in figures:
            if it and "x" in it:
                values += [it["x"]["median"], it["x"]["least"], it["x"]["most"], it["must"] or 1, it["stretch"] or 1]
                if it["peer"]:
                    values.append(it["x"]["median"] / it["peer"]["median"])
    if not values:
        return ""
    at = Scale(values)
    step = len(versions) * (BAR + 2) + GAP
    height = 34 + step * len(rows)
    out = [f'<div class="wide"><svg viewBox="0 0 {WIDTH} {height}" role="img">']
    for tick in at.ticks():
        kind = "one" if tick == 1 else "grid"
        out.append(f'<line class="{kind}" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="20" y2="{height - 4}"/>')
        label = at.label(tick)
        out.append(f'<text class="soft" x="{at(tick):.1f}" y="13" text-anchor="middle">{label}</text>')
    for number, (key, figures) in enumerate(rows):
        top = 28 + number * step
        some = next(filter(None, figures))
        middle = top + (step - GAP) / 2 + 4
        out.append(f'<text x="0" y="{middle:.0f}"><tspan class="soft">{some["id"]}</tspan>  {_escape(title(some))}</text>')
        for index, (version, it) in enumerate(zip(versions, figures)):
            y = top + index * (BAR + 2)
            if it is None:
                continue
            if "error" in it:
                out.append(f'<text class="soft" x="{at(1) + 6:.1f}" y="{y + 11}">{version}: failed</text>')
                continue
            x, what = it["x"], verdict(it)[0]
            tip = (
                f"{version}: stock {time_of(it['ns']['stock'])}, allcores {time_of(it['ns']['allcores'])}; "
                f"{x['median']:.2f}× ({x['least']:.2f}–{x['most']:.2f} in {it['rounds']} rounds); must {it['must'] or 0.9}; "
                f"others used {it['others']:.0f} % of the CPUs"
            )
            begin, end = sorted((at(1), at(x["median"])))
            out.append(
                f'<rect class="{what}" x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" height="{BAR}" rx="2">'
                f"<title>{_escape(tip)}</title></rect>"
            )
            out.append(
                f'<line class="spread" x1="{at(x["least"]):.1f}" x2="{at(x["most"]):.1f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"/>'
            )
            if it["peer"]:
                place = at(x["median"] / it["peer"]["median"])
                name = _escape(f"{it['peer']['name']}: {x['median'] / it['peer']['median']:.2f}× stock")
                out.append(f'<circle class="peer" cx="{place:.1f}" cy="{y + BAR / 2}" r="4"><title>{name}</title></circle>')
            for edge, kind, label in (
                (WIDTH - 115, "", f"{x['median']:.3g}×" if x["median"] >= 100 else f"{x['median']:.2f}×"),
                (WIDTH - 45, "", time_of(it["ns"]["allcores"])),
                (WIDTH, "soft", version.rsplit(".", 1)[0]),
            ):
                out.append(f'<text class="{kind}" x="{edge}" y="{y + 11}" text-anchor="end">{label}</text>')
        low, high = top - 2, top + len(versions) * (BAR + 2)
        asked = some["must"] or (None if some["pin"] == "none" else 0.9)
        if asked:
            out.append(f'<line class="must" x1="{at(asked):.1f}" x2="{at(asked):.1f}" y1="{low}" y2="{high}"/>')
        if some["stretch"]:
            out.append(f'<line class="goal" x1="{at(some["stretch"]):.1f}" x2="{at(some["stretch"]):.1f}" y1="{low}" y2="{high}"/>')
    out.append("</svg></div>")
    return "\n".join(out)


def _table(rows, versions):
    from report import peer_text, time_of, title

    out = ["<details><summary>figures</summary><table><tr><th>task</th>"]
    out += [f'<th class="n">{version}: stock</th><th class="n">allcores</th><th class="n">×</th><th class="n">others</th>' for version in versions]
    out.append("<th>best peer</th></tr>")
    for _, figures in rows:
        some = next(filter(None, figures))
        out.append(f"<tr><td>{_escape(title(some))}</td>")
        for it in figures:
            if it is None or "error" in it:
                out.append("<td></td><td></td><td></td><td></td>")
            else:
                cells = (time_of(it["ns"]["stock"]), time_of(it["ns"]["allcores"]), f"{it['x']['median']:.2f}", f"{it['others']:.0f} %")
                out += [f'<td class="n">{cell}</td>' for cell in cells]
        out.append(f"<td>{_escape(peer_text(some)) if 'x' in some else ''}</td></tr>")
    out.append("</table><p>others: what everything else on the machine used of its CPUs meanwhile.</p></details>")
    return "".join(out)


def html(data, keys):
    """The page for {version: {"machine", "figures"}}."""
    versions = list(data)
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        "<title>allcores: the Python package, measured</title>",
        f"<style>{STYLE}</style><h1>allcores against stock Python</h1>",
        "<p>How many times as fast as the interpreter's own threading and multiprocessing, measured side by side in one run. Each bar "
        "begins at stock; longer to the right is faster, to the left slower. The scale is logarithmic.</p>",
    ]
    for version, it in data.items():
        m = it["machine"]
        parts.append(
            f"<p>CPython {version}{'' if m['optimised'] else ', built without PGO'}: {_escape(m['cpu'])}, Linux {_escape(m['kernel'])}, "
            f"{m['date']}, load {m['load']} at the start</p>"
        )
    parts.append(
        '<p class="key"><span><i style="background:var(--good)"></i>as wanted</span>'
        '<span><i style="background:var(--good);opacity:.55"></i>as asked</span>'
        '<span><i style="background:var(--bad)"></i>less than asked</span>'
        '<span><i style="background:var(--soft);opacity:.5"></i>unpinned: shown, not judged</span>'
        '<span><i class="bar"></i>what is asked (the guard: 0.9)</span><span><i class="dots"></i>what is wanted</span>'
        '<span><i class="dot"></i>the best other package</span><span><i class="dash"></i>least and most of the rounds</span></p>'
        "<p>On the right: times as fast as stock, what one operation takes with allcores, and the version of Python.</p>"
    )
    for letter, name in GROUPS:
        rows = [(key, [data[v]["figures"].get(key) for v in versions]) for key in keys if key.startswith(letter)]
        if rows:
            parts += [f"<h2>{name}</h2>", _chart(rows, versions), _table(rows, versions)]
    parts.append("</html>\n")
    return "\n".join(parts)
