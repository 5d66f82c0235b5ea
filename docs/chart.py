"""The chart of all rows that were measured: ``python docs/chart.py`` draws `_static/peers.svg` anew.

Its numbers are those of the table in `performance.md`. It is a file, so that a code host shows it too; a test checks
that it is what is drawn here.
"""

import math
import re
from pathlib import Path
from statistics import geometric_mean

DOCS = Path(__file__).parent
FILE = DOCS / "_static" / "peers.svg"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 740, 322, 44, 64, 270
LOW, HIGH, GAP = 0.2, 100, 14

STYLE = """
svg { --ink: #22262b; --faint: #66707c; --line: #c4cad1; --ahead: #1f77b4; --behind: #d9622b; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e7ea; --faint: #9aa4af; --line: #4a525b; --ahead: #5aa9e0; --behind: #ee8a4e }
}
text { font: 12.5px system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: var(--faint) }
.title { font-weight: 600; fill: var(--ink) }
.middle { text-anchor: middle }
.end { text-anchor: end }
path { stroke: var(--line); stroke-width: .7 }
.one { stroke: var(--ink); stroke-width: 1.3 }
.ahead { fill: var(--ahead) }
.behind { fill: var(--behind) }
"""


def measured():
    """Return the table of all rows in `performance.md`, as a dict of dicts of texts."""
    lines = re.findall(r"^\| (.*) \|$", (DOCS / "performance.md").read_text(encoding="utf-8"), re.MULTILINE)
    start = next(k for k, line in enumerate(lines) if line.startswith("row | "))
    names = lines[start].split(" | ")
    rows = [dict(zip(names, line.split(" | "), strict=True)) for line in lines[start + 1 :] if line.count("|") == 9]
    return {row["row"]: row for row in rows}


def groups():
    """Return the ratios of each kind of row, sorted."""
    kinds = {"FIR filters": [], "depthwise": [], "layers": []}
    for name, row in measured().items():
        kind = "FIR filters" if name.startswith("fir") else "depthwise" if "depthwise" in name else "layers"
        kinds[kind].append(float(row["fastest peer / plan"]))
    return {kind: sorted(ratios, reverse=True) for kind, ratios in kinds.items()}


def place(ratio):
    """Return where a ratio lies, on a logarithmic scale."""
    return BOTTOM - (BOTTOM - TOP) * math.log(ratio / LOW) / math.log(HIGH / LOW)


def draw():
    """Return the chart as an SVG."""
    kinds = groups()
    count = sum(map(len, kinds.values()))
    behind = sum(ratio <= 1 for ratios in kinds.values() for ratio in ratios)
    words = f"above the line we are faster, on {count - behind}; below it, or even, on {behind}"
    title = f"Time of the fastest other library over ours, all {count} rows of the comparison"
    shapes = [
        f'<text x="{LEFT}" y="18" class="title">{title}</text>',
        f'<text x="{LEFT}" y="38">{words}</text>',
    ]
    for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        shapes.append(f'<path d="M{LEFT} {place(tick):.1f}H{WIDTH}"/>')
        shapes.append(f'<text x="{LEFT - 6}" y="{place(tick) + 4:.1f}" class="end">{tick:g}×</text>')
    step = (WIDTH - LEFT - GAP * len(kinds)) / count
    x = LEFT + GAP / 2
    for kind, ratios in kinds.items():
        middle = x + step * len(ratios) / 2
        shapes.append(f'<text x="{middle:.1f}" y="{BOTTOM + 24}" class="title middle">{kind}</text>')
        mean = f"{len(ratios)}, mean {geometric_mean(ratios):.2g}×"
        shapes.append(f'<text x="{middle:.1f}" y="{BOTTOM + 42}" class="middle">{mean}</text>')
        for ratio in ratios:
            y, height = place(max(ratio, 1)), max(abs(place(ratio) - place(1)), 1.5)
            colour = "ahead" if ratio > 1 else "behind"
            shapes.append(
                f'<rect x="{x + 0.8:.1f}" y="{y:.1f}" width="{step - 1.6:.1f}" height="{height:.1f}" class="{colour}"/>'
            )
            x += step
        x += GAP
    shapes.append(f'<path d="M{LEFT} {place(1):.1f}H{WIDTH}" class="one"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    return "\n".join([head, f"<title>{title}</title>", f"<style>{STYLE}</style>", *shapes, "</svg>\n"])


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
