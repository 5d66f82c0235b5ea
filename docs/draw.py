"""Draw the pictures of the documentation: `python docs/draw.py` writes `docs/_static/*.svg`.

Here belong the drawings, one function for each, and the few shapes that they are made of. What can be computed is: the
cells of a picture follow from the numbers at the top of its function. Standard library only.
"""

import ast
from html import escape
from pathlib import Path

STATIC = Path(__file__).parent / "_static"
HOUSE = Path(__file__).parents[1] / "tests" / "test_architecture.py"
WIDTH = 720  # of a page: one unit is a pixel there, so that text has the size that is written here
TEXT, LARGE = 12, 15

PAPER, EDGE, INK, FAINT = "#fcfbf8", "#d9d5cc", "#2c3038", "#6b707a"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#a9c6e8", "#f6cf94", "#b4dba6", "#d8bfe4", "#e3e1dc"
PHASES = (BLUE, ORANGE, GREEN, PURPLE)
STRONG = "#c2452d"  # what the eye should go to first


class Drawing:
    """Shapes on a light panel, which keeps its colours legible on a page of any theme."""

    def __init__(self, height: int, title: str) -> None:
        self.height, self.title = height, title
        self.shapes: list[str] = []

    def rect(self, x, y, width, height, fill="none", stroke=INK, *, weight=1.0, round_=0.0, dash=""):
        """Draw a rectangle."""
        more = (f' rx="{round_:g}"' if round_ else "") + (f' stroke-dasharray="{dash}"' if dash else "")
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{stroke}"'
            f' stroke-width="{weight:g}"{more}/>'
        )

    def text(self, x, y, words, *, size=TEXT, anchor="start", fill=INK, code=False, bold=False):
        """Write words whose middle is at the height `y`."""
        more = (' class="code"' if code else "") + (' font-weight="600"' if bold else "")
        more += "" if anchor == "start" else f' text-anchor="{anchor}"'
        more += "" if fill == INK else f' fill="{fill}"'
        self.shapes.append(f'<text x="{x:g}" y="{y + 0.35 * size:g}" font-size="{size:g}"{more}>{escape(words)}</text>')

    def heading(self, y, words, *, code=False):
        """Write what a drawing, or a part of it, is about."""
        self.text(20, y, words, size=LARGE, bold=True, code=code)

    def lines(self, x, y, *lines, step=18, **style):
        """Write lines one below the other."""
        for k, words in enumerate(lines):
            self.text(x, y + step * k, words, **style)

    def box(self, x, y, width, height, words="", fill="none", **style):
        """Draw a rectangle with words in its middle."""
        self.rect(x, y, width, height, fill, stroke=style.pop("stroke", INK), round_=style.pop("round_", 0))
        if words:
            self.text(x + width / 2, y + height / 2, words, anchor="middle", **style)

    def cells(self, x, y, width, height, words, fills, **style):
        """Draw boxes side by side."""
        for k, (word, fill) in enumerate(zip(words, fills, strict=True)):
            self.box(x + k * width, y, width, height, word, fill, **style)

    def cells_down(self, x, y, width, height, count, fill):
        """Draw empty boxes one below the other."""
        for k in range(count):
            self.rect(x, y + k * height, width, height, fill, EDGE)

    def path(self, *points, stroke=INK, weight=1.2, arrow=False, dash=""):
        """Draw a line through points, with a head at its end where it is an arrow."""
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        more = (' marker-end="url(#head)"' if arrow else "") + (f' stroke-dasharray="{dash}"' if dash else "")
        self.shapes.append(f'<polyline points="{way}" fill="none" stroke="{stroke}" stroke-width="{weight:g}"{more}/>')

    def span(self, x, y, width, words, *, below=True, **style):
        """Draw a bracket over a width, with words on its outer side."""
        depth = 6 if below else -6
        self.path((x + 1, y), (x + 1, y + depth), (x + width - 1, y + depth), (x + width - 1, y))
        self.text(x + width / 2, y + depth * (3 if below else 2.6), words, anchor="middle", **style)

    def svg(self) -> str:
        """Return the text of the file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}"'
            f" height=\"{self.height}\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\""
            f' fill="{INK}" role="img"><title>{escape(self.title)}</title>\n'
            "<style>.code{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}</style>\n"
            f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
            f' orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{INK}"/></marker></defs>\n'
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1}" rx="10" fill="{PAPER}"'
            f' stroke="{EDGE}"/>\n'
        )
        return head + "\n".join(self.shapes) + "\n</svg>\n"


def phases():
    """Draw the definition, which scatters, above the same sums read from the output's side."""
    stride, taps, length, left, right = 3, 5, 4, 1, 1
    full = (length - 1) * stride + taps
    cell, x0, row = 40, 128, 28
    d = Drawing(442, "Scattered filters that add up, and the phases of the output")
    d.heading(26, f"stride {stride}, {taps} taps: every sample adds a scaled filter")
    for i in range(length):
        y, x = 52 + i * 36, x0 + i * stride * cell
        d.text(x0 - 14, y + row / 2, f"w · x[{i}]", anchor="end", code=True)
        fills = [PHASES[(stride * i + k) % stride] for k in range(taps)]
        d.cells(x, y, cell, row, [f"w{k}" for k in range(taps)], fills, code=True)
    top = 52 + length * 36 + 12
    d.text(x0 - 14, top + row / 2, "full", anchor="end", code=True)
    d.path((x0, top - 9), (x0 + full * cell, top - 9), stroke=FAINT)
    d.text(x0 - 14, top - 12, "+", anchor="end", size=LARGE)
    d.cells(x0, top, cell, row, map(str, range(full)), [PHASES[t % stride] for t in range(full)], code=True)
    for q in range(-(-full // stride)):
        width = min(stride, full - q * stride) * cell
        d.span(x0 + q * stride * cell + 2, top + row + 3, width - 4, f"row q={q}")
    below = top + row + 40
    d.span(x0, below, left * cell, "left", code=True)
    d.span(x0 + left * cell, below, (full - left - right) * cell, "output_length: what is kept")
    d.span(x0 + (full - right) * cell, below, right * cell, "right", code=True)
    d.text(20, below + 9, "crop")
    q = 2
    d.rect(x0 + q * stride * cell, 48, stride * cell, top + row - 44, stroke=STRONG, weight=2.2, round_=3)
    y = below + 52
    d.heading(y, f"Read downwards, row q={q} is {stride} short convolutions, one for each phase:")
    for r in range(stride):
        terms = [f"w{r + stride * j} · x[{q - j}]" for j in range(-(-(taps - r) // stride))]
        d.box(x0, y + 18 + r * 25, 70, 21, f"phase {r}", PHASES[r])
        d.text(x0 + 84, y + 28.5 + r * 25, f"full[{stride * q + r}] = {' + '.join(terms)}", code=True)
    d.text(x0 + 250, y + 28.5 + 50, "one tap fewer", fill=FAINT)
    return d


def woven(rows, unit=1):
    """Return the steps that interleave rows of numbers, as `Vectors.weave` does for a power of two of them."""
    count, lanes = len(rows), len(rows[0])
    if count == 1:
        return [rows]
    halves = ([], [])
    for a, b in zip(rows[0::2], rows[1::2], strict=True):
        zipped = [n for u in range(0, lanes, unit) for row in (a, b) for n in row[u : u + unit]]
        halves[0].append(zipped[:lanes])
        halves[1].append(zipped[lanes:])
    below = [woven(half, 2 * unit) for half in halves]
    return [rows, *([*a, *b] for a, b in zip(*below, strict=True))]


def interleave():
    """Draw how the rows of four phases become one run of outputs."""
    stride = lanes = 4
    cell, row, gap, x0, y0 = 34, 26, 10, 96, 84
    rows = [[stride * q + r for q in range(lanes)] for r in range(stride)]
    steps = woven(rows)
    names = ("sums, a row for each phase", "first shuffles", "second shuffles")
    d = Drawing(306, "Rows of phases in registers, interleaved by shuffles while they are stored")
    column = lanes * cell + 84
    d.heading(26, "stride 4: four rows in registers become one run of outputs")
    for s, vectors in enumerate(steps):
        x = x0 + s * column
        d.text(x + lanes * cell / 2, y0 - 26, names[s], anchor="middle")
        for v, vector in enumerate(vectors):
            y = y0 + v * (row + gap)
            d.cells(x, y, cell, row, map(str, vector), [PHASES[t % stride] for t in vector], code=True)
            sources = [u for u, source in enumerate(steps[s - 1]) if s and set(source) & set(vector)]
            for side, u in zip((-5, 5), sources, strict=False):
                d.path((x - 80, y0 + u * (row + gap) + row / 2), (x - 4, y + row / 2 + side), arrow=True)
    for r in range(stride):
        d.text(x0 - 12, y0 + r * (row + gap) + row / 2, f"phase {r}", anchor="end")
    for q in range(lanes):
        d.text(x0 + (q + 0.5) * cell, y0 - 9, f"q={q}", anchor="middle", code=True)
    y = y0 + stride * (row + gap) + 10
    d.text(x0 - 12, y + row / 2, "memory", anchor="end")
    run = [t for vector in steps[-1] for t in vector]
    d.cells(x0, y, cell, row, map(str, run), [PHASES[t % stride] for t in run], code=True)
    d.text(
        x0,
        y + row + 20,
        f"One shuffle makes one vector of two: {sum(map(len, steps[1:]))} in all, then {stride} "
        f"stores. Drawn with {lanes} lanes; AVX-512 has 16.",
        fill=FAINT,
    )
    return d


def tile():
    """Draw the register tile: scalars of A against vectors of B."""
    rows, vectors, lanes, depth, now = 6, 2, 8, 8, 3
    cell, height, x0, y0 = 20, 26, 272, 66
    d = Drawing(496, "The register tile: scalars broadcast against vectors, summed over channels and taps")
    d.heading(26, "acc[r][v] += A[r] * B[v]", code=True)
    acc_x, acc_y, a_x, width = x0, y0 + depth * cell + 44, x0 - depth * cell - 30, lanes * cell
    for k in range(depth):
        fills = [BLUE if k == now else PAPER] * lanes
        for v in range(vectors):
            d.cells(x0 + v * width, y0 + k * cell, cell, cell, [""] * lanes, fills, stroke=EDGE)
        d.cells_down(a_x + k * cell, acc_y, cell, height, rows, ORANGE if k == now else PAPER)
    for v in range(vectors):
        d.rect(x0 + v * width, y0 + now * cell, width, cell, weight=1.6)
        d.text(x0 + (v + 0.5) * width, y0 - 12, f"B[{v}]", anchor="middle", code=True)
        d.path((x0 + (v + 0.5) * width, y0 + (now + 1) * cell + 2), (x0 + (v + 0.5) * width, acc_y - 4), arrow=True)
    for r in range(rows):
        y = acc_y + r * height
        d.rect(a_x + now * cell, y, cell, height, weight=1.6)
        d.text(a_x - 10, y + height / 2, f"A[{r}]", anchor="end", code=True)
        d.path((a_x + (now + 1) * cell + 2, y + height / 2), (acc_x - 4, y + height / 2), arrow=True)
        for v in range(vectors):
            d.box(acc_x + v * width, y, width, height, f"acc[{r}][{v}]", GREEN, code=True)
    d.lines(
        20,
        66,
        "One step of the reduction:",
        "V loads of vectors, R of scalars,",
        "each broadcast to all lanes,",
        "R × V multiply-adds.",
    )
    right = x0 + vectors * width + 14
    d.lines(right, y0 + 40, "steps:", "(channel, tap)")
    d.lines(right, acc_y + 40, "in registers", "for all steps", "of a block")
    d.text(20, acc_y + rows * height + 30, "6 × 2 sums + 2 vectors + 1 scalar = 15 of 16 registers (AVX2, SSE)")
    d.text(20, acc_y + rows * height + 50, "12 × 2 sums + 2 vectors + 1 scalar = 27 of 32 registers (AVX-512, NEON)")
    return d


def panels():
    """Draw how weights are packed, and an item: staged samples, a panel, sums."""
    stride, taps, filters = 3, 5, 4
    cell, row = 26, 22
    d = Drawing(620, "Packed panels of weights, and one item of work: staged samples, a panel, sums")
    d.heading(26, "Packed once: panels of filters side by side, phase after phase")
    d.text(20, 52, f"weights of a channel, {taps} taps")
    for f in range(filters):
        y = 66 + f * row
        d.text(20, y + row / 2, f"f{f}", code=True)
        d.cells(42, y, cell, row, [f"w{k}" for k in range(taps)], [PHASES[k % stride] for k in range(taps)], code=True)
    d.path((186, 66 + 2 * row), (226, 66 + 2 * row), arrow=True)
    for r in range(stride):
        x = 268 + r * (filters * cell + 38)
        d.text(x + filters * cell / 2, 52, f"panel {r}: phase {r}", anchor="middle")
        for f in range(filters):
            d.text(x + (f + 0.5) * cell, 72, f"f{f}", anchor="middle", code=True)
        for j in range(-(-taps // stride)):
            y, k = 84 + j * row, r + stride * j
            if k < taps:
                d.cells(x, y, cell, row, [f"w{k}"] * filters, [PHASES[r]] * filters, code=True)
            else:
                d.rect(x, y, filters * cell, row, stroke=FAINT, dash="3 3")
                d.text(x + filters * cell / 2, y + row / 2, "not multiplied", anchor="middle", fill=FAINT)
            if r == 0:
                d.text(x - 8, y + row / 2, f"j={j}", anchor="end", code=True)
    d.text(268, 142, "A panel is one or two vectors wide; the next channel follows below.", fill=FAINT)
    d.path((20, 172), (WIDTH - 20, 172), stroke=EDGE)

    d.heading(196, "One item: some rows of time, some panels, the reduction in blocks")
    x, y, span, halo = 50, 268, 9, 1
    d.text(20, 224, "staged: a few channels, in L2")
    for c in range(4):
        words = [f"x{q}" if q >= 0 else "0" for q in range(-halo, span - halo)]
        d.text(x - 8, y + c * row + row / 2, f"c{c}", anchor="end", code=True)
        d.cells(x, y + c * row, cell, row, words, [GREY] * halo + [ORANGE] * (span - halo), code=True)
    d.span(x + cell, y - 4, (span - 1) * cell, "x[c, q], for j=0", below=False)
    d.span(x, y + 4 * row + 4, (span - 1) * cell, "x[c, q-1], for j=1")
    d.lines(
        20, y + 4 * row + 50, "The same staged samples, shifted by a tap.", "Grey: the halo; before the signal, zeros."
    )

    x, y, width, height, count = 400, 338, 84, 168, 3
    d.rect(x, 232, width, 96, BLUE)
    d.lines(x + width / 2, 262, "a panel's", "block,", "in L1", anchor="middle")
    d.lines(x + width + 12, 262, "about 256 steps", "of (channel, j)")
    for k in range(count):
        d.rect(x + k * width, y, width, height, GREEN)
    d.box(x, y + 48, width, 30, "the tile", PAPER)
    d.rect(x, y + 48, width, 30, stroke=STRONG, weight=2.2)
    d.path((x + width / 2, 329), (x + width / 2, y + 45), arrow=True)
    d.path((296, 312), (340, 312), (340, y + 63), (x - 4, y + 63), arrow=True)
    d.lines(x + 1.5 * width, y + 54, "sums,", "in L2", anchor="middle")
    d.lines(x - 8, y + 106, "at most 1,024", "rows q", anchor="end")
    d.span(x, y + height + 4, count * width, "about 256 lanes (filter, phase)")
    d.path((20, 556), (WIDTH - 20, 556), stroke=EDGE)
    d.lines(
        20,
        576,
        "For each block of the reduction: stage, then the tile runs over all panels and rows; a panel stays in L1.",
        "Then bias and crop; squares of filters × outputs are transposed in registers and stored as vectors.",
    )
    return d


def gpu_tile():
    """Draw a tile of the contraction on a GPU: slabs, the sums of a thread, splits of the reduction."""
    size, sums, slab, threads = 128, 8, 8, 16  # rows and columns of a tile, and those of a thread; its threads each way
    scale, x0, y0 = 2.0, 112, 128
    d = Drawing(430, "A block of threads computes a tile of the result from slabs in shared memory")
    d.heading(26, "out[m, n] = sum of a[m, k] * b[k, n]", code=True)
    side, depth, gap = size * scale, slab * scale, 12
    for k, (fill, dash) in enumerate(((GREY, "3 3"), (BLUE, ""))):
        d.rect(x0, y0 - (2 - k) * (depth + gap), side, depth, fill, dash=dash)
    for k, (fill, dash) in enumerate(((GREY, "3 3"), (ORANGE, ""))):
        d.rect(x0 - (2 - k) * (depth + gap), y0, depth, side, fill, dash=dash)
    d.text(x0 + side / 2, y0 - 2 * (depth + gap) - 12, f"slabs of b: {slab} k × {size} columns n", anchor="middle")
    d.text(x0 + 0.81 * side, y0 - gap - depth / 2, "multiplied", anchor="middle")
    d.text(x0 + side / 2, y0 - 2 * gap - 1.5 * depth, "the next one, on its way", anchor="middle")
    d.lines(20, y0 + side + 18, f"slabs of a: {slab} k × {size} rows m, of the large tile for float32")
    d.rect(x0, y0, side, side, GREEN)
    thread_row, thread_column, group = 5, 3, 4
    for i in range(sums // group):
        for j in range(sums // group):
            row, column = (i * threads + thread_row) * group, (j * threads + thread_column) * group
            y, x = y0 + row * scale, x0 + column * scale
            d.rect(x, y0 - depth - gap, group * scale, depth, STRONG, stroke="none")
            d.rect(x0 - depth - gap, y, depth, group * scale, STRONG, stroke="none")
            d.rect(x, y, group * scale, group * scale, STRONG)
    d.text(x0 + side / 2, y0 + side - 14, f"tile of out: {size} × {size}, {threads**2} threads", anchor="middle")
    x, width = 420, 62
    d.lines(
        x,
        62,
        f"A thread keeps {sums} × {sums} sums in registers,",
        f"{group} × {group} in each quarter of the tile (red).",
        f"For each k it reads {sums} + {sums} numbers of the slabs",
        f"four by four, and adds {sums**2} products.",
    )
    d.path((x, 144), (WIDTH - 20, 144), stroke=EDGE)
    d.lines(
        x,
        166,
        "Few tiles: the reduction is split over blocks.",
        "Each leaves its sums in memory; the last one",
        "to arrive adds them in the order of splits.",
    )
    for s in range(3):
        left = x + s * (width + 32)
        d.box(left, 252, width, 36, f"split {s}", GREY)
        d.path((left + width / 2, 290), (left + width / 2, 306), arrow=True)
        d.box(left, 308, width, 34, "sums", GREEN)
        if s:
            d.text(left - 16, 325, "+", anchor="middle", size=LARGE)
    d.span(x, 246, 3 * width + 64, "k", below=False, code=True)
    d.path((x + 1.5 * width + 32, 344), (x + 1.5 * width + 32, 372), arrow=True)
    d.box(x, 374, 3 * width + 64, 34, "tile of out, with the bias", GREEN)
    return d


# Where a room stands on its floor: left end, width, colour.
ROOMS = {
    "__main__": (114, 90, GREY), "__init__": (310, 150, GREY), "cli": (114, 90, BLUE), "conversion": (114, 90, BLUE),
    "demo": (310, 150, GREY), "files": (114, 90, GREY), "training": (472, 140, PURPLE), "options": (530, 82, GREY),
    "progress": (618, 82, GREY), "solvers": (530, 82, GREY), "factors": (530, 82, GREY), "resampling": (114, 170, BLUE),
    "torch": (306, 140, PURPLE), "layer": (462, 238, PURPLE), "polyphase": (114, 130, BLUE),
    "interchange": (306, 78, GREY), "formats": (406, 52, GREY), "storage": (462, 54, GREY),
    "initializers": (530, 82, GREY), "_properties": (618, 82, GREY), "functional": (310, 150, ORANGE),
    "gradients": (490, 210, ORANGE), "streaming": (114, 90, GREY), "gpu": (310, 150, ORANGE), "lazy": (114, 90, GREY),
    "arguments": (490, 122, ORANGE), "boundaries": (114, 76, GREY), "outputs": (618, 82, GREY),
    "overlap_save": (194, 90, GREY),
    "backends": (114, 586, GREEN), "backends.cpu": (114, 288, GREEN), "backends.cuda": (412, 288, GREEN),
    "device_array": (412, 104, GREY), "geometry": (114, 234, ORANGE), "axes": (356, 46, GREY),
    "sources": (524, 76, GREY), "compiling": (608, 92, GREY),
}  # fmt: skip
SAYS = {
    "__init__": "__init__: the names", "training": "training: trainnet",
    "backends": "backends: which machine serves a call",
    "geometry": "geometry: every integer of a call",
}  # fmt: skip
NAMES = {
    "resampling": "upfirdn, resample_poly", "torch": "ConvTranspose1d", "layer": "TransposedConvolution1DLayer",
    "functional": "conv_transpose1d", "gradients": "conv_transpose1d_backward",
}  # fmt: skip
MACHINES = {
    "backends.cpu": ("from arrays: forward, backward, polyphase", "kernels: panels, direct, fir, depthwise, scatter,",
                     "rational, columns, sparse, windows, grad_*", "under them: pack, staging, tile, moves, jit"),
    "backends.cuda": ("from arrays: forward, backward, polyphase", "integers, launches: problems, launch, binding",
                      "contraction, fir, rates, tap_sums, sums", "under them: views, memory, compiler"),
}  # fmt: skip
CALL = {
    "functional": "1", "arguments": "2", "geometry": "3", "gpu": "4", "backends": "5", "backends.cpu": "6",
    "backends.cuda": "6",
}  # fmt: skip
STOREYS = ((0, 4, "commands"), (4, 7, "training"), (7, 9, "faces"), (9, 10, "their parts"), (10, 14, "operators"),
           (14, 16, "machines"), (16, 17, "ground"))  # fmt: skip


def dataflow():
    """Draw the package as a house, and the way of a call from its roof to the kernels."""
    tree = ast.parse(HOUSE.read_text(encoding="utf-8"))
    # The test holds the floors, so the picture cannot have others.
    (floors,) = (ast.literal_eval(node.value) for node in tree.body
                 if isinstance(node, ast.Assign) and node.targets[0].id == "FLOORS")  # fmt: skip
    gap, height, top = 12, 26, 50
    heights = [112 if rooms & MACHINES.keys() else 44 if rooms & NAMES.keys() else height for rooms in floors]
    ys = [top + sum(heights[:k]) + gap * k for k in range(len(floors))]
    level = {room: k for k, rooms in enumerate(floors) for room in rooms}
    d = Drawing(ys[-1] + height + 80, "The rooms of the package, floor by floor, and the way of a call")
    d.heading(26, "From call to kernel: imports and data go downwards")
    for first, end, words in STOREYS:
        y, bottom = ys[first], ys[end - 1] + heights[end - 1]
        d.path((100, y), (94, y), (94, bottom), (100, bottom), stroke=FAINT)
        d.text(88, (y + bottom) / 2, words, anchor="end", fill=FAINT)

    for room, to, x in (("cli", "conversion", 159), ("resampling", "polyphase", 179), ("torch", "functional", 395),
                        ("functional", "gpu", 385), ("gpu", "backends", 385), ("training", "layer", 500),
                        ("backends", "backends.cpu", 258), ("backends", "backends.cuda", 556)):  # fmt: skip
        d.path((x, ys[level[room]] + heights[level[room]]), (x, ys[level[to]] - 2), arrow=True)
    middle = {room: ys[k] + heights[k] / 2 for room, k in level.items()}
    for points in (
        ((204, middle["conversion"]), (224, middle["conversion"]), (224, ys[level["resampling"]] - 2)),
        ((244, middle["polyphase"]), (294, middle["polyphase"]), (294, ys[level["backends"]] - 2)),
        ((523, ys[level["layer"]] + 44), (523, middle["functional"]), (462, middle["functional"])),
        ((540, ys[level["gradients"]] + 44), (540, middle["gpu"]), (462, middle["gpu"])),
    ):
        d.path(*points, arrow=True)
    for room in sorted(level, key=lambda room: (level[room], room)):
        x, width, fill = ROOMS[room]
        y = ys[level[room]]
        d.box(x, y, width, heights[level[room]], "", fill, round_=4)
        if room in NAMES:
            d.text(x + width / 2, y + 14, room, anchor="middle")
            d.text(x + width / 2, y + 31, NAMES[room], anchor="middle", bold=True)
        elif room not in MACHINES:
            d.text(x + width / 2, middle[room], SAYS.get(room, room), anchor="middle")
        else:
            d.text(x + width / 2, y + 16, room.replace(".", "/"), anchor="middle", bold=True)
            d.lines(x + 10, y + 40, *MACHINES[room])
        if room in CALL:
            d.shapes.append(f'<circle cx="{x:g}" cy="{y + 3:g}" r="9" fill="{STRONG}"/>')
            d.text(x, y + 3, CALL[room], anchor="middle", fill="#ffffff", bold=True)
    d.box(530, top, 170, height, "reference: stands outside", PAPER, stroke=FAINT, round_=4)
    d.lines(
        114,
        ys[-1] + height + 24,
        "1 the call; 2 its arguments are checked; 3 its integers are worked out;",
        "4, 5 a machine is chosen; 6 views of the arrays, a kernel and its launch.",
        "Blue: signals. Orange: arrays. Purple: layers. Green: machines.",
    )
    return d


DRAWINGS = (phases, interleave, tile, panels, gpu_tile, dataflow)

if __name__ == "__main__":
    for draw in DRAWINGS:
        (STATIC / f"{draw.__name__}.svg").write_text(draw().svg(), encoding="utf-8")
