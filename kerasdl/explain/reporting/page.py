"""Page of a report of errors: one HTML file with its pictures inside."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from kerasdl.core.display.pictures import confusion
from kerasdl.core.plotting import FAINT, GREY, TRAIN, VALIDATION, dress, new_figure
from kerasdl.metrics import precision_recall, roc_curve

from ..heat_maps import draw_heat

SIDE = 96
"""Side of a thumbnail in pixels."""
MOST_CURVES = 10
"""Classes whose curves are drawn, those of the smallest area."""
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:1000px;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid"
    " #e5e7eb}td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.3rem;width:96px;"
    "vertical-align:top}figcaption{font-size:11px;line-height:1.25;overflow-wrap:anywhere}img.wide{max-width:min(100%,900px);max-height:520px}"
    "h2{margin-top:2rem}.note{color:#6b7280}"
)


def page_of(figures: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]], curves: Mapping[str, Any]) -> str:
    """Returns the HTML of a report."""
    low, high = figures["accuracy_interval"]
    wrong = len(figures["mistakes"])
    parts = [
        f"<h1>Errors on {html.escape(figures['data'])}</h1>",
        f"<p><b>{figures['accuracy']:.1%}</b> of {figures['examples']:,} examples are right, {wrong:,} are not; 95 % "
        f"interval {low:.1%} to {high:.1%}. Loss {figures['loss']:.4f}.</p>",
        "<h2>Classes</h2>",
        _table(figures["classes"]),
        _figure(confusion(np.array(figures["confusion"]), figures["labels"], "truth and answer")),
        _curves(figures, curves),
        *_calibration(figures["calibration"]),
        *_mistakes(figures, pictures),
        "<h2>Largest losses</h2>",
        _table(figures["top_losses"]),
        *_suspected(figures, pictures),
    ]
    if figures["slices"]:
        parts += ["<h2>Slices</h2>", "<p class=note>The lowest upper end of an interval first.</p>"]
        parts.append(_table(figures["slices"]))
    parts += _copies(figures, pictures)
    title = f"Errors on {html.escape(figures['data'])}"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    return head + "\n".join(parts) + "</html>\n"


def _curves(figures: Mapping[str, Any], curves: Mapping[str, Any]) -> str:
    rows = [row for row in figures["classes"] if row["roc_auc"] is not None]
    rows = sorted(rows, key=lambda row: row["average_precision"])[:MOST_CURVES]
    if not rows:
        return ""
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    dress(left, "Precision over recall", "recall", "precision")
    dress(right, "ROC", "false positives", "true positives")
    for row in rows:
        number = figures["labels"].index(row["class"])
        score, is_class = curves["scores"][:, number], (curves["truth"] == number).astype(int)
        precision, roc = precision_recall(score, is_class), roc_curve(score, is_class)
        left.step(precision.recall, precision.precision, where="post", label=row["class"], linewidth=1.3)
        right.plot(roc.false_positives, roc.true_positives, linewidth=1.3)
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid(color=FAINT, linewidth=0.6)
    note = f"<p class=note>The {len(rows)} classes of the smallest average precision.</p>"
    return _figure(figure) + (note if len(rows) < len(figures["classes"]) else "")


def _calibration(calibration: Mapping[str, Any]) -> Iterable[str]:
    figure = new_figure(4.4, 3.8)
    axes = figure.subplots()
    dress(axes, "Reliability", "confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    bins = calibration["bins"]
    axes.plot([row["confidence"] for row in bins], [row["accuracy"] for row in bins], color=TRAIN, marker="o")
    largest = max(row["examples"] for row in bins)
    axes.bar(
        [row["confidence"] for row in bins],
        [0.2 * row["examples"] / largest for row in bins],
        width=0.04,
        color=VALIDATION,
        alpha=0.4,
    )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    text = f"Expected calibration error {calibration['error']:.4f} (15 bins; bars show where the examples are)."
    if calibration["error_scaled"] is not None:
        mended = f"{calibration['temperature']:.2f} here, {calibration['error_scaled']:.4f}"
        text += f" Divided by a temperature, {mended}, each half of the examples by that of the other."
    return "<h2>Calibration</h2>", f"<p>{text}</p>", _figure(figure)


def _mistakes(figures: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    rows = figures["mistakes"]
    shown, heats = pictures.get("mistakes", ()), pictures.get("looked_at", ())
    looked = ", and where the net looked" if heats else ""
    yield f"<h2>Mistakes</h2><p>{len(rows):,}, the most certain first{looked}.</p>"
    if not shown:
        yield _table(rows[:20])
    for number, image in enumerate(shown):
        row = rows[number]
        text = f"{row['place']}: {row['truth']}, taken for {row['answer']} {row['score']:.0%}"
        images = [image]
        if number < len(heats):
            images.append(_under_heat(image, heats[number]))
        yield f"<figure>{''.join(map(_thumbnail, images))}<figcaption>{html.escape(text)}</figcaption></figure>"


def _suspected(figures: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    rows = figures["suspected_labels"]
    yield f"<h2>Labels that may be wrong</h2><p>{len(rows):,}, by confident learning, the most doubtful first. The net "
    yield "must not have learnt these examples.</p>"
    shown = pictures.get("suspected_labels", ())
    if rows and not shown:
        yield _table(rows[:20])
    for row, image in zip(rows, shown, strict=False):
        text = f"{row['place']}: labelled {row['label']}, likelier {row['likelier']}"
        yield f"<figure>{_thumbnail(image)}<figcaption>{html.escape(text)}</figcaption></figure>"


def _copies(figures: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    if "copies" in figures:
        yield f"<h2>Copies</h2><p>{len(figures['copies']):,} pairs of images of these data show the same picture.</p>"
        for (first, second), (a, b) in zip(figures["copies"], pictures.get("copies", ()), strict=False):
            text = f"{first} and {second}"
            yield f"<figure>{_thumbnail(a)}{_thumbnail(b)}<figcaption>{text}</figcaption></figure>"
    if "copies_in_train" in figures:
        found = len({first for first, _ in figures["copies_in_train"]})
        yield f"<p>{found:,} images of these data have a copy among those of the training.</p>"


def _under_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    size = image.shape[1], image.shape[0]
    grown = Image.fromarray(heat.astype("float32"), "F").resize(size, Image.Resampling.BILINEAR)
    return draw_heat(image, np.clip(np.asarray(grown), 0.0, 1.0))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    names = list(rows[0])
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in names) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def _thumbnail(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE))
    factor = max(1, SIDE // max(picture.size))
    return _image(picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST))


def _figure(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return f'<p><img class=wide alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"></p>'


def _image(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
