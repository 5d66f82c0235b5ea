"""What a training shows while it runs: a bar by tqdm or a table on the terminal, and a curve by matplotlib.

Here belongs the display alone; both packages are optional, and nothing is imported before it is asked for.
"""

import time
from typing import Any, NamedTuple, Self

import numpy as np

ROWS = 50  # iterations from one row of the table to the next, MATLAB's VerboseFrequency
BAR_AFTER = 1.0  # seconds of training before a bar appears: short work needs none
REDRAW_AFTER = 1.0  # seconds between two drawings of the curve: one takes some 30 ms


class Progress(NamedTuple):
    """What is known after an iteration; the losses so far, NaN where there was no validation."""

    epoch: int
    iteration: int
    rate: float
    losses: list[float]
    validations: list[float]


class Display:
    """A bar or a table, a curve, both or nothing, for so many iterations; use it in ``with``."""

    def __init__(self, iterations: int, *, verbose: bool, plot: bool) -> None:
        self._curve = Curve() if plot else None
        self._terminal = _terminal(iterations) if verbose else None

    @property
    def figure(self) -> Any:
        """The figure with the curve, or None."""
        return self._curve.figure if self._curve else None

    def __enter__(self) -> Self:
        return self

    def update(self, progress: Progress) -> None:
        """Show the state after an iteration."""
        if self._terminal:
            self._terminal.update(progress)
        if self._curve:
            self._curve.update(progress)

    def __exit__(self, *exception: object) -> None:
        if self._terminal:
            self._terminal.close()
        if self._curve:
            self._curve.draw()


def _terminal(iterations: int) -> "Bar | Table":
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return Table(iterations)
    return Bar(tqdm(total=iterations, unit="iteration", delay=BAR_AFTER))


class Bar:
    """A progress bar with the last losses."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, progress: Progress) -> None:
        """Move on by one iteration."""
        numbers = {"epoch": progress.epoch, "loss": f"{progress.losses[-1]:.4g}"}
        validated = [loss for loss in progress.validations[-1:] if np.isfinite(loss)]
        if validated:
            numbers["validation"] = f"{validated[0]:.4g}"
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Table:
    """MATLAB's table: the first, every 50th and the last iteration."""

    HEAD = "    Iteration    Epoch    TimeElapsed    LearnRate    TrainingLoss    ValidationLoss"

    def __init__(self, iterations: int) -> None:
        self._last = iterations
        self._start = time.perf_counter()
        print(self.HEAD)

    def update(self, progress: Progress) -> None:
        """Print a row where it is time for one."""
        epoch, iteration, rate, losses, validations = progress
        if iteration == 1 or iteration % ROWS == 0 or iteration == self._last:
            elapsed = time.strftime("%H:%M:%S", time.gmtime(time.perf_counter() - self._start))
            validation = "" if np.isnan(validations[-1]) else f"{validations[-1]:.5g}"
            print(f"{iteration:13}{epoch:9}{elapsed:>15}{rate:13.4g}{losses[-1]:16.5g}{validation:>18}")

    def close(self) -> None:
        """Do nothing: every row has its end."""


class Curve:
    """The loss over the iterations, drawn anew every second: live in a window, complete at the end without one."""

    def __init__(self) -> None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("Plots='training-progress' needs matplotlib: pip install matplotlib") from error
        self.figure, self._axes = pyplot.subplots(layout="constrained")
        (self._losses,) = self._axes.plot([], [], color="#1f77b4", linewidth=1.2, label="training")
        (self._validations,) = self._axes.plot([], [], "o--", color="#22262b", markersize=4, label="validation")
        self._axes.set(xlabel="iteration", ylabel="loss", yscale="log", title="Training progress")
        self._axes.spines[["top", "right"]].set_visible(False)
        self._axes.legend(frameon=False)
        self._drawn = time.perf_counter()
        self._progress: Progress | None = None
        self.figure.show(warn=False)  # opens a window where there can be one

    def update(self, progress: Progress) -> None:
        """Draw if the last drawing is old."""
        self._progress = progress
        if time.perf_counter() - self._drawn > REDRAW_AFTER:
            self.draw()

    def draw(self) -> None:
        """Draw what is known."""
        if self._progress is None:
            return
        iterations = np.arange(1, len(self._progress.losses) + 1)
        validations = np.array(self._progress.validations)
        known = ~np.isnan(validations)
        self._losses.set_data(iterations, self._progress.losses)
        self._validations.set_data(iterations[known], validations[known])
        self._axes.relim()
        self._axes.autoscale_view()
        self.figure.canvas.draw_idle()
        self.figure.canvas.flush_events()
        self._drawn = time.perf_counter()
