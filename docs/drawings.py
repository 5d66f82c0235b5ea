"""The drawings of the documentation, in `_static`: ``python docs/drawings.py`` writes them anew.

They are files, so that a code host shows them too; `tests/test_docs.py` checks that they are what is drawn here. Each
follows the page into its dark theme. Charts take their numbers from the table in `performance.md`.
"""

import math
import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
STYLE = (DOCS / "drawings.css").read_text(encoding="utf-8")


class Picture:
    """An SVG, shape by shape."""

    def __init__(self, width, height, description):
        self.head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(description)}">\n<style>\n{STYLE}</style>\n'
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" style="fill: var(--faint)"/></marker></defs>\n'
        )
        self.shapes = []

    def __str__(self):
        return self.head + "\n".join(self.shapes) + "\n</svg>\n"

    def box(self, x, y, width, height, kind="box", text="", textkind="middle", rounded=3):
        """Draw a rectangle, with a text in its middle."""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{rounded}" class="{kind}"/>'
        )
        if text:
            self.text(x + width / 2, y + height / 2 + 4.5, text, textkind)

    def text(self, x, y, text, kind="", turned=False):
        """Write a text whose base line begins, or has its middle, here."""
        turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" class="{kind}"{turn}>{escape(text, quote=False)}</text>')

    def line(self, *points, kind="line", tip=False):
        """Draw a line through points, with an arrow's tip at its end if asked for."""
        path = " ".join(f"{x:g} {y:g}" for x, y in points)
        end = ' marker-end="url(#tip)"' if tip else ""
        self.shapes.append(f'<path d="M{path}" class="{kind}"{end}/>')

    def dot(self, x, y, kind):
        """Draw a mark of a chart."""
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="5.5" class="{kind}"/>')


STRIDE, TAPS, SAMPLES = 3, 5, 4
FULL = (SAMPLES - 1) * STRIDE + TAPS


def phases():
    """Draw what an input sample scatters as a row, so that what an output sample gathers is a column."""
    cell, left, top = 44, 76, 52
    picture = Picture(740, 318, "Each input sample scatters five taps; each output sample gathers those of one phase")
    picture.text(left, 20, f"stride {STRIDE}, {TAPS} taps: a row is what one input sample scatters", "title")
    for t in range(FULL):
        picture.text(left + (t + 0.5) * cell, top - 8, str(t), "faint middle")
    picture.text(left - 10, top - 8, "output", "faint end")
    for i in range(SAMPLES):
        y = top + i * cell
        picture.text(left - 14, y + 26, f"x[{i}]", "code end")
        for k in range(TAPS):
            t = STRIDE * i + k
            picture.box(left + t * cell + 2, y + 2, cell - 4, cell - 4, f"phase{t % STRIDE}", f"w{k}", "code middle")
    y = top + SAMPLES * cell + 26
    picture.line((left - 4, y - 13), (left + FULL * cell, y - 13), kind="grid")
    picture.text(left - 14, y + 26, "y", "code end")
    for t in range(FULL):
        picture.box(
            left + t * cell + 2, y + 2, cell - 4, cell - 4, f"phase{t % STRIDE}", str(t % STRIDE), "code middle"
        )
    picture.text(left, y + cell + 18, "phase t % 3: a column is what one output sample gathers", "title")
    # One column as an example: where both of its taps and its sum are.
    picture.box(left + 6 * cell - 1, top - 1, cell + 2, y - top + cell, "strong")
    return picture


def interleave():
    """Draw three short convolutions, woven."""
    cell, left, rows = 40, 206, 4
    picture = Picture(740, 292, "Three ordinary convolutions of the input, whose results are interleaved")
    picture.text(left - 52, 40, "x", "code end")
    for q in range(rows):
        picture.box(left + q * 126 + 43, 20, cell - 4, 30, "box", f"x[{q}]", "code middle")
    for r in range(STRIDE):
        y = 78 + r * 46
        taps = ", ".join(f"w{k}" for k in range(r, TAPS, STRIDE))
        picture.text(16, y + 20, f"phase {r}:  {taps}", "code")
        for q in range(rows):
            x = left + q * 126 + r * 42
            for j in range(min(q + 1, len(range(r, TAPS, STRIDE)))):
                picture.line((left + (q - j) * 126 + 61, 50), (x + 18, y), kind="grid")
            picture.box(x, y, cell - 4, 30, f"phase{r}", f"q={q}", "code middle")
            picture.line((x + 18, y + 30), (x + 18, 222), tip=True)
    picture.text(left - 52, 246, "y", "code end")
    for t in range(rows * STRIDE):
        picture.box(left + t * 42, 226, cell - 4, 30, f"phase{t % STRIDE}", str(t), "code middle")
    picture.text(left, 280, "woven in registers, stored once and in order", "title")
    return picture


def tile():
    """Draw the register tile of AVX-512 in float32."""
    rows, lanes, cell, left, top = 12, 16, 15, 168, 78
    picture = Picture(740, 330, "The register tile: 12 scalars times 2 vectors, added to 24 accumulators")
    picture.text(left, 20, "acc[r][v] += A[r] * B[v]", "title")
    for v in range(2):
        x = left + v * (lanes * cell + 12)
        picture.box(x, top - 34, lanes * cell, 22, "phase1", f"B[{v}]: one vector of 16 lanes", "small middle")
        for r in range(rows):
            picture.box(x, top + r * (cell + 3), lanes * cell, cell, "phase0", rounded=2)
            for lane in range(1, lanes):
                at = x + lane * cell
                picture.line((at, top + r * (cell + 3)), (at, top + r * (cell + 3) + cell), kind="grid")
    for r in range(rows):
        picture.box(left - 44, top + r * (cell + 3), 26, cell, "phase2", rounded=2)
        picture.text(left - 52, top + r * (cell + 3) + 12, f"A[{r}]", "faint end")
    picture.text(
        left, top + rows * (cell + 3) + 20, "24 accumulators, 2 vectors, a scalar: 27 of 32 registers", "small"
    )
    picture.text(28, top - 22, "12 scalars,", "small")
    picture.text(28, top - 7, "each to all lanes", "small")
    return picture


def panels():
    """Draw the matrix product of the panel path."""
    picture = Picture(740, 372, "Rows of shifted samples, times packed panels, give rows of filters and phases")
    top, height, left, right = 84, 200, 300, 522
    picture.text(20, 22, "A matrix product whose left side is never written down", "title")
    # Left: three channels, each a run of staged samples that every tap reads with another shift.
    picture.text(20, 54, "staged samples, one run a channel", "small")
    for channel in range(3):
        y = top + channel * 52
        picture.text(20, y + 17, f"x[{channel}]", "code")
        for k in range(9):
            picture.box(62 + k * 19, y, 17, 24, "phase2", rounded=2)
        picture.line((62 + 3 * 19, y + 31), (62 + 9 * 19 - 2, y + 31), tip=True)
        picture.line((62 + 2 * 19, y + 37), (62 + 8 * 19 - 2, y + 37), tip=True)
    picture.text(62, top + 170, "rows of tap 0, rows of tap 1:", "faint")
    picture.text(62, top + 186, "the same samples, shifted", "faint")
    picture.text(250, top + 64, "×", "title middle")
    # Middle: panels, two vectors wide.
    picture.text(left, 54, "panels: filters × phases", "small")
    for panel in range(4):
        x = left + panel * 46
        picture.box(x, top, 42, height, "phase1")
        for step in range(1, 6):
            picture.line((x, top + step * height / 6), (x + 42, top + step * height / 6), kind="grid")
    picture.box(left + 46, top, 42, height, "strong")
    for step in range(6):
        picture.text(left - 6, top + (step + 0.5) * height / 6 + 4, f"c{step // 2} j{step % 2}", "faint end")
    picture.text(left, top + height + 20, "a plan packs them once", "faint")
    picture.text(502, top + 64, "=", "title middle")
    # Right: accumulators of one item.
    picture.text(right, 54, "accumulators of an item, in L2", "small")
    picture.text(right, top - 10, "about 256 lanes", "faint")
    picture.box(right, top, 184, height, "phase0")
    for panel in range(1, 4):
        picture.line((right + panel * 46, top), (right + panel * 46, top + height), kind="grid")
    for row in range(1, 8):
        picture.line((right, top + row * height / 8), (right + 184, top + row * height / 8), kind="grid")
    picture.box(right + 46, top + 3 * height / 8, 46, height / 8, "strong", "tile", "small middle")
    picture.text(right + 200, top + height / 2, "up to 1,024 rows", "faint middle", turned=True)
    picture.line((right + 92, top + height + 4), (right + 92, top + height + 32), tip=True)
    picture.text(730, top + height + 50, "epilogue: bias, crop, interleave, cast, store", "small end")
    picture.text(730, top + height + 70, "y[filter, stride*q + phase]", "code end")
    return picture


def architecture():
    """Draw the way of the data from call to kernel."""
    picture = Picture(740, 650, "From a public name through checks, integers and packed weights to a kernel")

    def room(x, y, width, title, does, kind="box"):
        picture.box(x, y, width, 46, kind)
        picture.text(x + width / 2, y + 19, title, "code middle")
        picture.text(x + width / 2, y + 36, does, "faint middle")

    room(14, 16, 172, "layer.py", "MATLAB's layer", "phase0")
    room(200, 16, 172, "torch.py", "PyTorch's module", "phase0")
    room(554, 16, 172, "resampling.py", "SciPy's signatures", "phase0")
    room(14, 90, 358, "functional.py, arguments.py", "the function and the plan; arrays, dtypes and options", "phase0")
    room(386, 90, 140, "overlap_save.py", "long filters, by FFT")
    room(554, 90, 172, "polyphase.py", "axes, banks, ends", "phase0")
    room(14, 164, 512, "geometry.py", "every integer: lengths, crops, phases, taps, halo", "phase1")
    for x in (100, 286, 640):
        picture.line((x, 62), (x, 88), tip=True)
    picture.line((554, 113), (528, 113), tip=True)
    picture.line((193, 136), (193, 162), tip=True)
    picture.line((193, 210), (193, 256), tip=True)
    picture.line((660, 136), (660, 256), tip=True)
    picture.line((600, 256), (600, 187), (528, 187), tip=True)
    picture.text(203, 230, "arrays and integers; no option goes further", "faint")
    picture.box(6, 236, 728, 408, "frame", rounded=8)
    picture.text(20, 632, "backends/cpu", "code")
    room(14, 258, 150, "layout.py, pack.py", "weights into panels")
    room(200, 258, 172, "forward.py", "which path, which kernel", "phase0")
    room(554, 258, 172, "polyphase.py", "which kernel", "phase0")
    picture.line((200, 281), (166, 281), tip=True)
    picture.line((554, 281), (374, 281), tip=True)
    picture.text(464, 274, "down = 1, few phases", "faint middle")
    room(14, 344, 712, "threads.py, turns.py", "one worker or several, who take items from a counter", "phase1")
    picture.line((286, 304), (286, 342), tip=True)
    picture.line((640, 304), (640, 342), tip=True)
    paths = (
        ("panels.py", "layers"), ("fir.py", "few filters"), ("scatter.py", "few samples"), ("rational.py", "up/down"),
        ("columns.py", "other axes"),
    )  # fmt: skip
    for k, (title, serves) in enumerate(paths):
        x = 14 + k * 145
        room(x, 424, 132, title, serves, "phase2")
        picture.line((x + 66, 390), (x + 66, 422), tip=True)
        picture.line((x + 66, 470), (x + 66, 502), tip=True)
    room(14, 504, 349, "staging.py", "samples: contiguous, cast, zeros at the borders")
    room(377, 504, 349, "tile.py", "vectors: multiply and add, weave, transpose")
    picture.line((551, 550), (551, 582), tip=True)
    picture.text(551, 602, "the output: bias, crop, interleave, cast; stored once", "small middle")
    return picture


# Of the table in performance.md, what the first page and README show, and how a newcomer would call it.
SHOWN = {
    "fir 1x1000000 k81 s4 float32": "FIR ×4, 81 taps, a million samples",
    "fir 1x1000000 k81 s4 complex64": "the same, complex samples",
    "bank depthwise 128 k4 s2 4x4096": "Depthwise ×2, 128 channels",
    "example 64->96 k11 s4 16x256": "MATLAB's example, 64 to 96, ×4, batch 16",
    "hifigan 256->128 k16 s8 1x688": "HiFi-GAN, 256 to 128 channels, ×8",
    "bigvgan 96->48 k4 s2 32x2048": "BigVGAN, 96 to 48, ×2, batch 32",
    "dac 192->96 k4 s2 1x22016": "DAC, 192 to 96, ×2",
    "demucs 128->64 k8 s4 1x30292": "Demucs, 128 to 64, ×4",
    "istft 2049->1 k4096 s1024 1x340": "Inverse STFT, 4,096 taps",
    "mimi 1024->512 k16 s8 1x2": "Mimi, 1,024 to 512, ×8, two samples",
    "wavegan 512->256 k25 s4 64x64": "WaveGAN, 512 to 256, ×4, batch 64",
}
PEERS = ("PyTorch", "ONNX Runtime", "OpenVINO", "SciPy")
UNITS = {"us": 1e-6, "ms": 1e-3}


def measured():
    """Return the table of all rows in `performance.md`, as a dict of dicts of texts."""
    lines = re.findall(r"^\| (.*) \|$", (DOCS / "performance.md").read_text(encoding="utf-8"), re.MULTILINE)
    start = next(k for k, line in enumerate(lines) if line.startswith("row | "))
    names = lines[start].split(" | ")
    rows = [dict(zip(names, line.split(" | "), strict=True)) for line in lines[start + 1 :] if line.count("|") == 9]
    return {row["row"]: row for row in rows}


def seconds(text):
    """Read a time of the table."""
    number, unit = text.split()
    return float(number) * UNITS[unit]


def peers():
    """Draw the times of the others over ours, for the rows of the first page."""
    table, left, right, top, step = measured(), 356, 716, 76, 27
    bottom = top + step * len(SHOWN)
    picture = Picture(740, bottom + 40, "Times of PyTorch, ONNX Runtime, OpenVINO and SciPy over those of numba_tconv")

    def place(ratio):
        return left + (right - left) * math.log(ratio / 0.8) / math.log(200 / 0.8)

    picture.text(14, 22, "Time of one call, relative to numba_tconv: further right is slower", "title")
    x = left + 24
    for peer in PEERS:
        picture.dot(x, 45, peer.split()[0])
        picture.text(x + 11, 49, peer, "small")
        x += 36 + 7.2 * len(peer)
    for tick in (2, 5, 10, 20, 50, 100, 200):
        picture.line((place(tick), top - 10), (place(tick), bottom), kind="grid")
        picture.text(place(tick), bottom + 18, f"{tick}×", "faint middle")
    picture.line((place(1), top - 10), (place(1), bottom), kind="ours")
    picture.text(place(1), bottom + 18, "1×", "faint middle")
    picture.text(left - 14, 49, "numba_tconv", "small end")
    for k, (name, label) in enumerate(SHOWN.items()):
        y, ours = top + (k + 0.5) * step, seconds(table[name]["plan"])
        picture.text(14, y + 4, label, "small")
        picture.text(left - 14, y + 4, table[name]["plan"], "faint end")
        picture.line((left, y), (right, y), kind="grid")
        for peer in PEERS:
            if table[name][peer] != "-":
                picture.dot(place(seconds(table[name][peer]) / ours), y, peer.split()[0])
    return picture


def all_rows():
    """Draw the fastest other library over the plan, for all rows of the comparison."""
    ratios = sorted(float(row["fastest peer / plan"]) for row in measured().values())
    left, right, top, bottom = 60, 726, 44, 264
    picture = Picture(740, 300, "All rows of the comparison, sorted: the fastest other library's time over the plan's")
    picture.text(14, 22, f"Fastest other library's time over the plan's: all {len(ratios)} rows, sorted", "title")
    low, high = 0.2, 100

    def place(ratio):
        return bottom - (bottom - top) * math.log(ratio / low) / math.log(high / low)

    for tick in (0.25, 0.5, 1, 2, 5, 10, 20, 50):
        picture.line((left, place(tick)), (right, place(tick)), kind="grid")
        picture.text(left - 8, place(tick) + 4, f"{tick:g}×", "faint end")
    step = (right - left) / len(ratios)
    for k, ratio in enumerate(ratios):
        y = place(max(1, ratio))
        height = max(1.5, abs(place(ratio) - place(1)))
        picture.box(left + k * step + 1, y, step - 2, height, "ahead" if ratio > 1 else "behind", rounded=1)
    picture.line((left, place(1)), (right, place(1)))
    count = sum(ratio > 1 for ratio in ratios)
    picture.text(left + 4, bottom + 22, f"not ahead on {len(ratios) - count}", "small")
    picture.text(right, bottom + 22, f"ahead on {count}", "small end")
    return picture


DRAWINGS = {
    "phases": phases,
    "interleave": interleave,
    "tile": tile,
    "panels": panels,
    "architecture": architecture,
    "peers": peers,
    "all-rows": all_rows,
}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (DOCS / "_static" / f"{name}.svg").write_text(str(draw()), encoding="utf-8")
