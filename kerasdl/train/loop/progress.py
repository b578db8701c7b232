"""Progress display of a run: a live bar on a terminal, plain lines elsewhere, or nothing."""

import math
import time
from collections.abc import Callable, Mapping

from rich import console as rich_console
from rich import progress as rich_progress

Figures = Mapping[str, float]

LINE_SECONDS = 10.0
LINE_WIDTH = 80
"""Columns that the line of an epoch may take; speed, learning rate and seconds are left out first, in that order."""
LIVE_SECONDS = 0.25


class Progress:
    """Silent progress display, and base class of the others."""

    interval_seconds = math.inf
    """Shortest time between two readings of the figures inside an epoch."""

    def __init__(self, name: str = ""):
        self.name = name
        self.epochs: int | None = None
        self.steps: int | None = None
        self.batch_size: int | None = None
        self.figures: Callable[[], Figures] = dict
        self.due = math.inf
        self._mark, self._speed = (0.0, 0), ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def begin(
        self, epochs: int | None, steps: int | None, batch_size: int | None, figures: Callable[[], Figures]
    ) -> None:
        """Sets the epochs, steps in an epoch and examples in a batch (None: unknown), and the source of the figures."""
        self.epochs, self.steps, self.batch_size, self.figures = epochs, steps, batch_size, figures

    def begin_epoch(self, epoch: int, batch: int) -> None:
        """Marks the start of an epoch, counted from 0, at a batch of it."""
        now = time.monotonic()
        self._mark = (now, batch)
        self.due = now + self.interval_seconds
        self.show_start(epoch, batch)

    def step(self, epoch: int, batch: int) -> None:
        """Called after each step; reads and shows the figures once the interval has passed."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + self.interval_seconds
            self.show_progress(epoch, batch, self.figures())

    def end_steps(self, batch: int) -> None:
        """Called between training and validation of an epoch, so that the speed shown is that of training."""
        self._speed = self.speed(batch)

    def end_epoch(self, epoch: int, figures: Figures, best: bool) -> None:
        """Shows the figures of a finished epoch."""
        seconds = f"{time.monotonic() - self._mark[0]:.1f} s"
        few = {name: value for name, value in figures.items() if name != "learning_rate"}
        lines = [
            "  ".join(filter(None, (self.title(epoch), *middle, format_figures(shown), "best" if best else "")))
            for middle, shown in (
                ((seconds, self._speed), figures),
                ((seconds,), figures),
                ((seconds,), few),
                ((), few),
            )
        ]
        self.say(next((line for line in lines if len(line) <= LINE_WIDTH), lines[-1]))

    def title(self, epoch: int) -> str:
        """Returns `epoch 3/10`, after the name of the stage where there are several."""
        return f"{self.name} epoch {epoch + 1}".lstrip() + (f"/{self.epochs}" if self.epochs else "")

    def rate(self, batch: int) -> float:
        """Returns the steps per second since the epoch began or was resumed."""
        started, first = self._mark
        return (batch - first) / max(time.monotonic() - started, 1e-9)

    def speed(self, batch: int) -> str:
        """Returns the speed in examples per second, or in steps where the size of a batch is unknown."""
        unit = "examples/s" if self.batch_size else "steps/s"
        rate = self.rate(batch) * (self.batch_size or 1)
        return f"{rate:,.0f} {unit}" if rate >= 10 else f"{rate:.2g} {unit}"

    def time_left(self, epoch: int, batch: int) -> str:
        """Returns the time left for the whole run, `-` where it is unknown."""
        rate = self.rate(batch)
        if not (self.epochs and self.steps and rate > 0):
            return "-"
        seconds = round(((self.epochs - epoch) * self.steps - batch) / rate)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def say(self, line: str) -> None:
        """Shows one line."""

    def show_start(self, epoch: int, batch: int) -> None:
        """Shows that an epoch begins."""

    def show_progress(self, epoch: int, batch: int, figures: Figures) -> None:
        """Shows the progress inside an epoch."""

    def close(self) -> None:
        """Removes the display."""


class LineProgress(Progress):
    """Plain lines for logs and pipes: one for each epoch, and one every 10 seconds inside a long epoch."""

    interval_seconds = LINE_SECONDS

    def say(self, line: str) -> None:
        print(line, flush=True)

    def show_progress(self, epoch: int, batch: int, figures: Figures) -> None:
        position = f"step {batch}" + (f"/{self.steps}" if self.steps else "")
        left = self.time_left(epoch, batch)
        parts = [
            self.title(epoch),
            position,
            self.speed(batch),
            "" if left == "-" else f"{left} left",
            format_figures(figures),
        ]
        self.say("  ".join(part for part in parts if part))


class LiveProgress(Progress):
    """Live progress bar on a terminal or in a notebook."""

    interval_seconds = LIVE_SECONDS

    def __init__(self, console: rich_console.Console, name: str = ""):
        super().__init__(name)
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=24 if console.width > 100 else 8),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[speed]}", style="cyan"),
            rich_progress.TextColumn("{task.fields[left]} left", style="cyan"),
            rich_progress.TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self.task = None

    def say(self, line: str) -> None:
        self.bar.console.print(line, highlight=False, markup=False)

    def show_start(self, epoch: int, batch: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.bar.start()
        self.task = self.bar.add_task(
            self.title(epoch), total=self.steps, completed=batch, speed="", left="-", figures=""
        )

    def show_progress(self, epoch: int, batch: int, figures: Figures) -> None:
        fields = {"speed": self.speed(batch), "left": self.time_left(epoch, batch), "figures": format_figures(figures)}
        self.bar.update(self.task, completed=batch, **fields)

    def close(self) -> None:
        self.bar.stop()


def make_progress(mode: str, stage: tuple[int, str] | None = None) -> Progress:
    """Returns the progress display for `progress=`, `"auto"` or `"off"`, of a run or of a stage by number and name."""
    name = "" if stage is None else stage[1]
    if mode == "off":
        return Progress(name)
    console = rich_console.Console()
    live = console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
    return LiveProgress(console, name) if live else LineProgress(name)


def format_figures(figures: Figures) -> str:
    """Returns `loss 0.432 val 0.543  accuracy 0.877 val 0.812`: a figure, and beside it that of the validation."""
    parts = []
    for name, value in figures.items():
        if name.removeprefix("val_") in figures and name.startswith("val_"):
            continue
        validation = f" val {figures[f'val_{name}']:.3g}" if f"val_{name}" in figures else ""
        parts.append(f"{name} {value:.3g}{validation}")
    return "  ".join(parts)
