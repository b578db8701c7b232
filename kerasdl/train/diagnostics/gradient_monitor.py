"""Gradient monitor: gradients, updates and dead units of each layer during a run, and findings about them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.plotting import keep

from ..loop.hooks import RunCallback, RunInfo, UpdateTrace
from .gradient_monitor_plots import monitor_figure

MEASURES = ("gradient_norm", "weight_norm", "update_ratio", "zero_share", "dead_share")
MAX_INSPECTIONS = 512  # beyond this number every second one is dropped
LAYERS_NAMED = 3
RELUS = (keras.activations.relu, keras.activations.relu6)


@dataclass(frozen=True)
class Finding:
    """Problem that a monitor found."""

    kind: str
    """`"vanishing"`, `"exploding"`, `"dead units"`, `"large updates"` or `"small updates"`."""
    step: int
    """Update at which it was found, counted from 1."""
    layers: tuple[str, ...]
    """The affected layers, the worst first."""
    text: str
    """Description of the problem, and remedies."""


class GradientMonitor(RunCallback):
    """Callback that records gradients, updates and dead units of each layer, and reports each kind of problem once.

    Pass it among the callbacks of `fit`. It inspects the first update and every `every`-th, and does not change the
    run. Weights are grouped by layer; only layers with a kernel (a weight of two dimensions or more) can have findings.
    The kinds of findings:

    - vanishing: the gradient norm of the first layer is under `vanishing` times that of the last;
    - exploding: the gradient norm of a layer is over `exploding` times the norm of its weights, or not finite. Reported
      immediately, since such a run may soon fail;
    - dead units: more than the share `dead` of a layer's rectified units (channels of a convolution) are 0 for the
      whole batch;
    - large updates: a layer's update ratio, norm of the update over norm of the weights, is above the `updates` range;
    - small updates: the ratio has been below that range since the run began. (Later it falls with the rate.)

    All kinds but exploding need `patience` inspections in a row. Dead units cause vanishing gradients and small
    updates, which are then not reported; nor are small updates where gradients vanish.

    The range of update ratios is Karpathy's rule of thumb, about 1e-3 (CS231n, Neural Networks part 3, "Ratio of
    weights:updates"); the other thresholds are our choice. In healthy nets of 3 to 20 layers the first gradient norm
    was within a factor of ten of the last; in 20 layers of sigmoids it was 1e-13 of it (Glorot and Bengio 2010,
    section 4.2, explain this).

    `steps` holds the inspected updates, `history[measure][layer]` a number for each: gradient_norm (over the whole
    batch, before clipping), weight_norm and update_ratio, zero_share (exact zeros in the gradient), and dead_share of
    layers with a rectifier. Checkpoints hold them; beyond 512 inspections every second one is dropped.

    Dead units are measured in functional and Sequential models, outside of nested models, with the weights after the
    update, and with several replicas on the part of the first one. A model with its own `train_step` cannot be
    inspected.

    Args:
        every: updates from one inspection to the next, 1 or more.
        folder: folder of TensorBoard histograms of gradients and weights; None takes `gradients` in the folder of the
            run, and writes none where the run has no folder.
        patience: inspections in a row that make a finding, 1 or more.
        vanishing: lowest gradient norm of the first layer, as a share of that of the last.
        exploding: highest gradient norm of a layer, as a multiple of the norm of its weights.
        dead: highest share of dead units in a layer, from 0 to 1.
        updates: lowest and highest update ratio.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> monitor = GradientMonitor(every=10)
        >>> config = RunConfig(steps=20, batch_size=4, progress="off")
        >>> run = fit(model, (x, y), callbacks=[monitor], config=config)
        >>> monitor.steps, len(monitor.history["update_ratio"]["head"])
        ([1, 10, 20], 3)
    """

    writes = True

    def __init__(
        self,
        every: int = 100,
        folder: str | os.PathLike | None = None,
        *,
        patience: int = 3,
        vanishing: float = 1e-4,
        exploding: float = 1e3,
        dead: float = 0.5,
        updates: tuple[float, float] = (1e-4, 1e-2),
    ):
        self.every, self.patience = checks.at_least("every", every, 1), checks.at_least("patience", patience, 1)
        self.vanishing = checks.within("vanishing", vanishing, 0.0, 1.0)
        self.exploding = checks.within("exploding", exploding, 0.0, 1e30)
        self.dead = checks.within("dead", dead, 0.0, 1.0)
        self.updates = tuple(checks.within("updates", bound, 0.0, 1e6) for bound in updates)
        if len(self.updates) != 2 or self.updates[0] > self.updates[1]:
            checks.refuse("updates must be the lowest and the highest update ratio", updates)
        self.folder = None if folder is None else Path(folder)
        self._reset()
        self._say: Callable[[str], None] | None = None  # set on the chief alone, which reports and writes
        self._rectified: tuple[list[str], Callable] | None = None
        self._run_folder: Path | None = None
        self._writer: Any = None

    # The hooks of a run

    def setup(self, run_info: RunInfo) -> None:
        """Stores model and folder of a run, and clears the history of an earlier one."""
        self._reset()
        self._say, self._run_folder = run_info.say, run_info.folder
        self._rectified = dead_share_function(run_info.model)

    def wants(self, step: int) -> bool:
        """Returns whether a step is the first or an `every`-th."""
        return step == 1 or step % self.every == 0

    def inspect(self, trace: UpdateTrace) -> None:
        """Adds an update to the history, the histograms and the findings."""
        self.steps.append(trace.step)
        for layer, names in by_layer(trace.before).items():
            for measure, value in update_figures(trace, names).items():
                self._append(measure, layer, value)
        if self._rectified is not None:
            names, dead = self._rectified
            for layer, share in zip(names, dead(trace.inputs), strict=True):
                self._append("dead_share", layer, float(share))
        for table in self.history.values():
            for values in table.values():  # a layer that was frozen since
                values.extend([np.nan] * (len(self.steps) - len(values)))
        self._write_histograms(trace)
        self._update_findings(trace)
        if len(self.steps) > MAX_INSPECTIONS:
            self.steps = self.steps[1::2]
            self.history = {
                measure: {layer: values[1::2] for layer, values in table.items()}
                for measure, table in self.history.items()
            }

    def end(self) -> None:
        """Closes the histograms."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def fail(self, error: BaseException) -> None:
        """Closes the histograms of a run that failed."""
        self.end()

    def saved(self) -> dict[str, Any]:
        """Returns history and findings as plain values."""
        return {"steps": self.steps, "history": self.history, "findings": [asdict(each) for each in self.findings]}

    def restore(self, saved: dict[str, Any]) -> None:
        """Restores the values that `saved` returned."""
        self.steps = list(saved["steps"])
        self.history = {
            measure: {layer: list(values) for layer, values in table.items()}
            for measure, table in saved["history"].items()
        }
        self.findings = [Finding(**{**each, "layers": tuple(each["layers"])}) for each in saved["findings"]]

    # Plots and histograms

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns maps of layers over steps: gradient norm, update ratio, dead units; with a path, writes them there.

        Raises:
            ArgumentError: nothing was inspected yet.
        """
        if not self.steps:
            checks.refuse("a plot needs an inspected update", 0, "Give the monitor to fit among its callbacks.")
        return keep(monitor_figure(self.steps, self.history, self.updates), path)

    def _reset(self) -> None:
        self.steps: list[int] = []
        self.history: dict[str, dict[str, list[float]]] = {measure: {} for measure in MEASURES}
        self.findings: list[Finding] = []

    def _append(self, measure: str, layer: str, value: float) -> None:
        table = self.history[measure]
        table.setdefault(layer, [np.nan] * (len(self.steps) - 1)).append(value)

    def _write_histograms(self, trace: UpdateTrace) -> None:
        folder = self.folder or (self._run_folder and Path(self._run_folder) / "gradients")
        if folder is None or self._say is None:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(folder))
        with self._writer.as_default(step=trace.step):
            for kind, arrays in (("gradients", trace.gradients), ("weights", trace.after)):
                for name, values in arrays.items():
                    if values is not None:
                        values = _flat(values)
                        tf.summary.histogram(f"{kind}/{name}", values[np.isfinite(values)])
        self._writer.flush()

    # Findings

    def _update_findings(self, trace: UpdateTrace) -> None:
        layers = by_layer(trace.before).items()
        kernels = [layer for layer, names in layers if any(trace.before[name].ndim > 1 for name in names)]
        self._add_finding(
            "dead units",
            self._persistent("dead_share", list(self.history["dead_share"]), lambda share: share > self.dead),
            f"more than {self.dead:.0%} of the rectified units gave 0 for a whole batch, {{}}. Lower the learning "
            "rate, initialise with He's rule and zero biases, or take leaky_relu, gelu or a norm before the rectifier.",
        )
        self._update_gradient_findings(kernels)
        low, high = self.updates
        self._add_finding(
            "large updates",
            self._persistent("update_ratio", kernels, lambda ratio: ratio > high),
            f"a step changes the weights by more than {high:.0e} of their norm, {{}}. About 1e-3 is a good rule; lower "
            "the learning rate.",
        )
        if self._has_found("dead units", "vanishing"):
            return
        small = [
            (layer, -ratio)
            for layer, ratio in self._persistent("update_ratio", kernels, lambda ratio: ratio < low)
            if np.nanmax(self.history["update_ratio"][layer]) < low
        ]
        self._add_finding(
            "small updates",
            small,
            f"steps have changed the weights by less than {low:.0e} of their norm since the run began, {{}}. About "
            "1e-3 is a good rule; raise the learning rate if the loss falls slowly.",
        )

    def _update_gradient_findings(self, kernels: list[str]) -> None:
        norms, weights = self.history["gradient_norm"], self.history["weight_norm"]
        times = [(layer, norms[layer][-1] / max(weights[layer][-1], 1e-30)) for layer in kernels]
        self._add_finding(
            "exploding",
            [(layer, value) for layer, value in times if value > self.exploding],
            f"the norm of the gradient is over {self.exploding:.0e} times that of the weights, {{}}. Scale the "
            "initialisation down, normalise, clip (clip_norm=1.0) or lower the learning rate.",
        )
        if len(kernels) < 2 or self._has_found("dead units"):
            return
        first, last = (norms[layer][-self.patience :] for layer in (kernels[0], kernels[-1]))
        vanished = [low < self.vanishing * high for low, high in zip(first, last, strict=True)]
        if len(vanished) == self.patience and all(vanished):
            self._add_finding(
                "vanishing",
                [(kernels[0], 1.0)],
                f"the gradient norm of the first layer is {first[-1] / last[-1]:.0e} of that of {kernels[-1]}, {{}}. "
                "Take relu, gelu or silu, He's initialisation, norms or skip connections.",
            )

    def _persistent(self, measure: str, layers: list[str], wrong: Callable[[float], bool]) -> list[tuple[str, float]]:
        table = self.history[measure]
        recent = {layer: table[layer][-self.patience :] for layer in layers if layer in table}
        return [
            (layer, values[-1])
            for layer, values in recent.items()
            if len(values) == self.patience and all(map(wrong, values))
        ]

    def _has_found(self, *kinds: str) -> bool:
        return any(each.kind in kinds for each in self.findings)

    def _add_finding(self, kind: str, worst: list[tuple[str, float]], text: str) -> None:
        if not worst or self._has_found(kind):
            return
        layers = tuple(layer for layer, _ in sorted(worst, key=lambda pair: -pair[1]))
        more = f" and {len(layers) - LAYERS_NAMED} more" if len(layers) > LAYERS_NAMED else ""
        finding = Finding(kind, self.steps[-1], layers, text.format(f"in {', '.join(layers[:LAYERS_NAMED])}{more}"))
        self.findings.append(finding)
        if self._say is not None:
            self._say(f"{kind}, seen at step {finding.step}: {finding.text}")


def by_layer(weights: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the paths of weights grouped by the path of their layer."""
    paths: dict[str, list[str]] = {}
    for path in weights:
        paths.setdefault(path.rpartition("/")[0] or path, []).append(path)
    return paths


def update_figures(trace: UpdateTrace, names: list[str]) -> dict[str, float]:
    """Returns the figures of one layer, from all weights with these paths; NaN where there is no gradient."""
    before, after = (np.concatenate([_flat(each[name]) for name in names]) for each in (trace.before, trace.after))
    slopes = [_flat(trace.gradients[name]) for name in names if trace.gradients.get(name) is not None]
    slope = np.concatenate(slopes) if slopes else np.full(1, np.nan)
    size = np.linalg.norm(before)
    gradient = np.linalg.norm(slope)
    return {
        "gradient_norm": float(gradient) if not slopes or np.isfinite(gradient) else np.inf,
        "weight_norm": float(size),
        "update_ratio": float(np.linalg.norm(after - before) / size) if size else np.nan,
        "zero_share": float(np.mean(slope == 0)) if slopes else np.nan,
    }


def dead_share_function(model: keras.Model) -> tuple[list[str], Callable[[Any], list[np.ndarray]]] | None:
    """Returns the layers with a rectifier, and a function from a batch of inputs to the dead share of each.

    The batch goes through the model as in training, with batch statistics in batch norms, and changes no state.
    None for a model without such layers, or without a known graph.
    """
    if not getattr(model, "inputs", None):
        return None
    layers = [layer for layer in model.layers if _is_rectified(layer)]
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    try:
        rectified = keras.Model(inputs, [layer.output for layer in layers], name="rectified") if layers else None
    except (ValueError, AttributeError):  # a layer that was first called in another graph
        return None
    if rectified is None:
        return None

    @tf.function(autograph=False, reduce_retracing=True)
    def dead(batch):
        values = [
            [each.value for each in group]
            for group in (rectified.trainable_variables, rectified.non_trainable_variables)
        ]
        outputs, _ = rectified.stateless_call(*values, batch, training=True)
        outputs = [tf.reshape(each, (-1, tf.shape(each)[-1])) for each in keras.tree.flatten(outputs)]
        return [tf.reduce_mean(tf.cast(tf.reduce_all(each <= 0, axis=0), tf.float32)) for each in outputs]

    return [layer.name for layer in layers], lambda batch: [each.numpy() for each in dead(batch)]


def _is_rectified(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return not np.any(layer.negative_slope)
    return getattr(layer, "activation", None) in RELUS


def _flat(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64).ravel()
