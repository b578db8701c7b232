"""Model card of a bundle: description, use, figures, provenance, limits; and its short form in a session."""

import math
from typing import Any

from kerasdl.core.display.results import Displayed, figures_text, names_text

from .listing import list_bundles

MOST_LABELS = 40


def write_card(bundle) -> str:
    """Returns the card of a bundle in Markdown."""
    manifest = bundle.manifest
    inputs = ", ".join(f"`{each['name']}` {tuple(each['shape'])} {each['dtype']}" for each in manifest.inputs)
    weights = sum(
        math.prod(weight.shape) for network in (bundle.model, *bundle.others.values()) for weight in network.weights
    )
    lines = [
        f"# {manifest.name}",
        "",
        f"A model that {bundle.task.summary or f'solves the task {manifest.task}'}.",
        "",
        f"- Built from: {manifest.builder or 'a model of its own'}, {weights:,} weights",
        f"- Input: {inputs}, after the steps in preprocess.json",
        f"- Labels: {_listed(manifest.labels) or 'none'}",
        f"- Licence: {manifest.licence or 'not stated'}",
        "",
        "## Use",
        "",
        "```python",
        *_use(bundle),
        "```",
        "",
        "## Measured",
        "",
        *_measured(manifest.metrics),
        *_calibrated(bundle.calibration),
        "",
        "## How it was made",
        "",
        *[f"- {name}: {value}" for name, value in manifest.provenance.items()],
        "",
        "## Limits",
        "",
        f"{_limits(bundle)} The figures hold for the data named beside them.".lstrip(),
    ]
    return "\n".join(lines) + "\n"


def _limits(bundle) -> str:
    """Returns what a model of the task does not do; a calibrated bundle does not name a class for every input."""
    if bundle.calibration is None:
        return bundle.task.limits
    return "It knows the labels above and nothing else; the threshold lets some inputs of none of them pass."


def _use(bundle) -> list[str]:
    """Returns lines that predict: from a photo beside them, or from zeros of the input's shape."""
    manifest = bundle.manifest
    own = manifest.name not in list_bundles()
    load = f"bundle = kerasdl.load_bundle({manifest.name + '.zip' * own!r})" + "  # the path of this bundle" * own
    if "image_shape" in bundle.preprocess:
        return ["import kerasdl", "", load, 'print(bundle.predict("photo.jpg"))']
    if bundle.task.raw_example is not None:
        return ["import kerasdl", "", load, f"print(bundle.predict({bundle.task.raw_example(bundle.preprocess)}))"]
    if bundle.preprocess.get("tokenizer"):
        return ["import kerasdl", "", load, 'print(bundle.predict(["some text"]))']
    shape, dtype = manifest.inputs[0]["shape"], manifest.inputs[0]["dtype"]
    sizes = ", ".join(["1", *(str(size or 1) for size in shape)])
    return ["import kerasdl", "import numpy as np", "", load, f'print(bundle.predict(np.zeros(({sizes},), "{dtype}")))']


def _listed(labels) -> str:
    more = f", and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return ", ".join(labels[:MOST_LABELS]) + more


def _measured(metrics) -> list[str]:
    if not metrics:
        return ["Nothing yet."]
    rows = ["| data | figure | value |", "|---|---|---|"]
    return rows + [
        f"| {data} | {name} | {value:.4g} |" for data, figures in metrics.items() for name, value in figures.items()
    ]


def _calibrated(calibration) -> list[str]:
    """Returns the rule of a calibrated bundle; nothing for another one."""
    if calibration is None:
        return []
    temperature, threshold = calibration.temperature, calibration.threshold
    scores = f"Scores are softmax(logits / {temperature:.4g})."
    return ["", f"{scores} Where the highest is below {threshold:.4g}, the label is None: none of these."]


class BundleDisplay(Displayed):
    """Base class of `Bundle` that shows it in a session and on its card."""

    def card(self) -> str:
        """Returns the model card in Markdown: description, figures, provenance, limits.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").card().splitlines()[0]
            '# digits_mobilenet'
        """
        return write_card(self)

    def _shown(self) -> tuple[str, dict[str, Any]]:
        manifest, calibration = self.manifest, self.calibration
        weights = sum(network.count_params() for network in self.networks.values())
        inputs = [f"{each['name']} {tuple(each['shape'])} {each['dtype']}" for each in manifest.inputs]
        measured = [f"{data}: {figures_text(figures)}" for data, figures in manifest.metrics.items()]
        rows = {
            "labels": names_text(self.labels),
            "inputs": f"{'; '.join(inputs)}, after preprocessing",
            "outputs": manifest.outputs + ("" if calibration is None else f"; none below {calibration.threshold:.4g}"),
            "measured": "; ".join(measured),
            "licence": manifest.licence,
        }
        return f"Bundle {manifest.name}: {manifest.task.replace('_', ' ')}, {weights:,} parameters", rows
