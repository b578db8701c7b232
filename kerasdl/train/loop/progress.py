"""What a run shows while it goes: a live display on a terminal, plain lines elsewhere, or nothing."""

import math
import time
from collections.abc import Callable, Mapping

from rich import console as rich_console
from rich import progress as rich_progress

Figures = Mapping[str, float]

LINE_SECONDS = 10.0
LIVE_SECONDS = 0.25


class Progress:
    """Shows nothing; the base of those that show something."""

    seconds = math.inf
    """Least time between two looks at the figures inside an epoch."""

    def __init__(self):
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
        """Takes the length of the run, of its epochs and batches (None: unknown), and where the figures come from."""
        self.epochs, self.steps, self.batch_size, self.figures = epochs, steps, batch_size, figures

    def begin_epoch(self, epoch: int, batch: int) -> None:
        """Marks the start of an epoch, counted from 0, at a batch of it."""
        now = time.monotonic()
        self._mark = (now, batch)
        self.due = now + self.seconds
        self.started(epoch, batch)

    def step(self, epoch: int, batch: int) -> None:
        """Called after each step; looks at the figures when it is time to."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + self.seconds
            self.moved(epoch, batch, self.figures())

    def end_steps(self, batch: int) -> None:
        """Called when an epoch has trained, and validates next: the speed shown is that of training."""
        self._speed = self.speed(batch)

    def end_epoch(self, epoch: int, figures: Figures, best: bool) -> None:
        """Shows what an epoch came to."""
        seconds = time.monotonic() - self._mark[0]
        parts = [self.title(epoch), f"{seconds:.1f} s", self._speed, text_of(figures), "best" if best else ""]
        self.say("  ".join(part for part in parts if part))

    def title(self, epoch: int) -> str:
        """Returns `epoch 3/10`."""
        return f"epoch {epoch + 1}" + (f"/{self.epochs}" if self.epochs else "")

    def rate(self, batch: int) -> float:
        """Returns the steps per second since the epoch began or was resumed."""
        started, first = self._mark
        return (batch - first) / max(time.monotonic() - started, 1e-9)

    def speed(self, batch: int) -> str:
        """Returns the speed in examples per second, or in steps where the size of a batch is unknown."""
        unit = "examples/s" if self.batch_size else "steps/s"
        rate = self.rate(batch) * (self.batch_size or 1)
        return f"{rate:,.0f} {unit}" if rate >= 10 else f"{rate:.2g} {unit}"

    def left(self, epoch: int, batch: int) -> str:
        """Returns the time left for the whole run, `-` where that is unknown."""
        rate = self.rate(batch)
        if not (self.epochs and self.steps and rate > 0):
            return "-"
        seconds = round(((self.epochs - epoch) * self.steps - batch) / rate)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def say(self, line: str) -> None:
        """Shows one line."""

    def started(self, epoch: int, batch: int) -> None:
        """Shows that an epoch begins."""

    def moved(self, epoch: int, batch: int, figures: Figures) -> None:
        """Shows how far an epoch is."""

    def close(self) -> None:
        """Takes the display down."""


class LineProgress(Progress):
    """Plain lines for logs and pipes: one an epoch, and one every few seconds inside a long one."""

    seconds = LINE_SECONDS

    def say(self, line: str) -> None:
        print(line, flush=True)

    def moved(self, epoch: int, batch: int, figures: Figures) -> None:
        place = f"step {batch}" + (f"/{self.steps}" if self.steps else "")
        left = self.left(epoch, batch)
        parts = [self.title(epoch), place, self.speed(batch), "" if left == "-" else f"{left} left", text_of(figures)]
        self.say("  ".join(part for part in parts if part))


class LiveProgress(Progress):
    """A bar that moves, on a terminal or in a notebook."""

    seconds = LIVE_SECONDS

    def __init__(self, console: rich_console.Console):
        super().__init__()
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=24),
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

    def started(self, epoch: int, batch: int) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.bar.start()
        self.task = self.bar.add_task(
            self.title(epoch), total=self.steps, completed=batch, speed="", left="-", figures=""
        )

    def moved(self, epoch: int, batch: int, figures: Figures) -> None:
        shown = {"speed": self.speed(batch), "left": self.left(epoch, batch), "figures": text_of(figures)}
        self.bar.update(self.task, completed=batch, **shown)

    def close(self) -> None:
        self.bar.stop()


def make_progress(mode: str) -> Progress:
    """Returns what `progress=` asks for: `"auto"` or `"off"`."""
    if mode == "off":
        return Progress()
    console = rich_console.Console()
    live = console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
    return LiveProgress(console) if live else LineProgress()


def text_of(figures: Figures) -> str:
    """Returns `loss 0.4321  accuracy 0.8765`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
