"""Lines of `kerasdl finetune` about a run: updates an epoch, the epoch that was kept, advice, what Ctrl-C leaves."""

import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..output import metric_rows, show_json, show_table

BOXES = "object_detection"
LOW_AP50 = 0.5
"""AP50 on validation images below which a detector gets advice."""
FEW_BOXES = 50
"""Boxes of a class to learn from below which more images of it are advised."""
SMALL_SIDE = 256
"""Side of the input, in pixels, below which a larger one is advised."""
MANY_CLASSES = 5
"""Classes above which fewer are advised."""


def updates_note(train: Any, batch_size: int, epochs: int) -> list[str]:
    """Returns a sentence on the updates of a run over images with boxes; none for other data or of unknown size."""
    if train.task != BOXES or train.size is None:
        return []
    updates = math.ceil(train.size / batch_size)
    return [f"Updates: {updates} an epoch (--batch-size {batch_size}), {updates * epochs:,} in {epochs} epochs."]


def advice(tuned: Any, train: Any) -> list[str]:
    """Returns a line on what helps a detector whose AP50 on validation images is low; nothing for others.

    Args:
        tuned: the fine-tuned bundle, with the figures of its validation.
        train: the data that it learnt from.
    """
    figures = list(tuned.manifest.metrics.values())
    low = figures[-1].get("AP50") if figures and tuned.manifest.task == BOXES else None
    if low is None or not low < LOW_AP50:
        return []
    kept, _, last = tuned.manifest.provenance["epoch kept"].partition(",")[0].partition(" of ")
    ways = ["more --epochs, since the last one was the best"] if kept == last else []
    names, counts = _boxes_of_classes(train)
    if counts and min(counts) < FEW_BOXES:
        ways.append(f"more images of {names[counts.index(min(counts))]!r} ({min(counts)} boxes to learn from)")
    side = min(tuned.model.input_shape[1:3], key=lambda size: size or SMALL_SIDE)
    if side is not None and side < SMALL_SIDE:
        ways.append(f"--side {2 * side} in place of {side}, for small objects")
    if len(tuned.labels) > MANY_CLASSES:
        ways.append(f"fewer classes than {len(tuned.labels)}")
    ways = ways or ["more images of each class"]
    return [f"advice: an AP50 of {low:.2g} is low. Usual remedies: {'; '.join(ways)}."]


def _boxes_of_classes(train: Any) -> tuple[tuple[str, ...], list[int]]:
    """Returns the classes, and the boxes of each to learn from; no numbers for data that are read in a fixed order."""
    if not train.any_order:
        return train.class_names, []
    classes = train.source.labels["classes"]
    counts = Counter(getattr(classes, "values", classes).ravel().tolist())
    return train.class_names, [counts[number] for number in range(len(train.class_names))]


def next_command(out: Path, data: str, images: Path | None, validation: str | None) -> str:
    """Returns the command that measures a fine-tuned bundle, with quotes where a shell needs them.

    Args:
        out: path of the bundle.
        data: name of the data of the fine-tuning, with the columns of rows.
        images: folder of the images of annotation files, None without one.
        validation: other images that validated; then all data were learnt, and others must measure.
    """
    named = ["DATA"] if validation is not None else [data] if images is None else [data, "--images", str(images)]
    return shlex.join(["kerasdl", "evaluate", str(out), *named])


def show_notes(notes: Sequence[str]) -> None:
    """Prints sentences, one a line."""
    for note in notes:
        print(note)


def show_tuned(
    tuned: Any, out: Path, seconds: float, advised: Sequence[str], command: str, notes: Sequence[str] | bool
) -> None:
    """Prints figures of a fine-tuned bundle, the epoch that was kept, advice, where the bundle is and what is next.

    Args:
        tuned: the bundle.
        out: its path.
        seconds: time since the command began.
        advised: lines of advice.
        command: the command that measures it.
        notes: sentences on the data, for JSON; False prints text.
    """
    manifest = tuned.manifest
    if notes is not False:
        values = {"bundle": str(out), "seconds": seconds, "epoch_kept": manifest.provenance["epoch kept"]}
        return show_json({**values, "notes": [*notes, *advised], **manifest.metrics})
    if manifest.metrics:
        show_table(str(out), ("data", "figure", "value"), metric_rows(manifest.metrics))
    print(f"Epoch kept in the last stage: {manifest.provenance['epoch kept']}.")
    show_notes([*advised, f"Saved to {out} in {seconds:.0f} s. Next: `{command}`."])


@contextmanager
def told_on_interrupt(out: Path, folder: Path | None) -> Iterator[None]:
    """Context manager around the training of a bundle: after Ctrl-C it says what was saved, and what to do next.

    Args:
        out: path of the new bundle, written as the last thing inside the block.
        folder: folder of the run, None without one.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = "nothing was kept. With --folder RUN the same command would go on where it stopped"
        if folder is not None:
            kept = f"the run is kept in {folder}: the same command goes on from there, and writes the bundle"
        print(f"{out} was not written; {kept}.", file=sys.stderr)
        raise
