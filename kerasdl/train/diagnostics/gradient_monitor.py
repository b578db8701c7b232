"""Gradients, updates and dead units of each layer while a run goes, and what is wrong with them."""

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
KEPT = 512  # inspections; of more, every second is left out
NAMED = 3
RELUS = (keras.activations.relu, keras.activations.relu6)


@dataclass(frozen=True)
class Finding:
    """Something wrong that a monitor saw."""

    kind: str
    """`"vanishing"`, `"exploding"`, `"dead units"`, `"large updates"` or `"small updates"`."""
    step: int
    """The update at which it was seen, counted from 1."""
    layers: tuple[str, ...]
    """The layers concerned, the worst first."""
    text: str
    """What was seen, and what helps."""


class GradientMonitor(RunCallback):
    """Follows gradients, updates and dead units of each layer, and says once of each kind what is wrong.

    It goes among the callbacks of `fit`, looks at the first update and at every `every`-th, and changes nothing about
    the run. Weights are taken together by the layer that holds them; only layers with a kernel (a weight of two
    dimensions or more) are judged. The kinds of findings:

    - vanishing: the gradient norm of the first layer is under `vanishing` times that of the last;
    - exploding: the gradient norm of a layer is over `exploding` times the norm of its weights, or not finite. Said at
      the first sight, since such a run may not live long;
    - dead units: more than the share `dead` of a layer's rectified units (channels of a convolution) give 0 for the
      whole batch;
    - large updates: a layer's update ratio, norm of the update over norm of the weights, is above the `updates` range;
    - small updates: it has been below that range since the run began. (It falls in good order later, with the rate.)

    All but exploding must be seen in `patience` inspections in a row. Where units are dead, vanishing gradients and
    small updates follow from it and are not said; nor are small updates where gradients vanish.

    The range of update ratios is Karpathy's rule of thumb, about 1e-3 (CS231n, Neural Networks part 3, "Ratio of
    weights:updates"); the other thresholds were chosen here. In healthy nets of 3 to 20 layers the first gradient norm
    was found within ten times of the last; in 20 layers of sigmoids (Glorot and Bengio 2010, section 4.2, say why) it
    was 1e-13 of it.

    `steps` holds the updates inspected, `history[measure][layer]` a number for each: gradient_norm (over the whole
    batch, before clipping), weight_norm and update_ratio, zero_share (exact zeros in the gradient), and dead_share by
    the layer that rectifies. They are kept in checkpoints; of more than 512 inspections every second is left out.

    Dead units are looked for in functional and Sequential models, outside of models nested in them, with the weights
    after the update, and of several replicas on the first one's part of the batch. A model with its own `train_step`
    cannot be inspected.

    Args:
        every: updates from one inspection to the next, 1 or more.
        folder: where histograms of gradients and weights go, for TensorBoard; None takes `gradients` in the folder of
            the run, and writes none where it has no folder.
        patience: inspections in a row that make a finding, 1 or more.
        vanishing: least gradient norm of the first layer, as a share of the last one's.
        exploding: highest gradient norm of a layer, in norms of its weights.
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
        self._forget()
        self._say: Callable[[str], None] | None = None  # known on the chief alone, which does the telling and writing
        self._rectified: tuple[list[str], Callable] | None = None
        self._run_folder: Path | None = None
        self._writer: Any = None

    # The hooks of a run

    def setup(self, run_info: RunInfo) -> None:
        """Gets to know the model, and where histograms go; what another run showed is forgotten."""
        self._forget()
        self._say, self._run_folder = run_info.say, run_info.folder
        self._rectified = rectified_units(run_info.model)

    def wants(self, step: int) -> bool:
        """Returns whether a step is the first or an `every`-th."""
        return step == 1 or step % self.every == 0

    def inspect(self, seen: UpdateTrace) -> None:
        """Takes an update into the history, the histograms and the findings."""
        self.steps.append(seen.step)
        for layer, names in by_layer(seen.before).items():
            for measure, value in measured(seen, names).items():
                self._note(measure, layer, value)
        if self._rectified is not None:
            names, dead = self._rectified
            for layer, share in zip(names, dead(seen.inputs), strict=True):
                self._note("dead_share", layer, float(share))
        for table in self.history.values():
            for values in table.values():  # a layer that was frozen meanwhile
                values.extend([np.nan] * (len(self.steps) - len(values)))
        self._write_histograms(seen)
        self._judge(seen)
        if len(self.steps) > KEPT:
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
        """Closes the histograms of a run that did not end well."""
        self.end()

    def saved(self) -> dict[str, Any]:
        """Returns history and findings as plain values."""
        return {"steps": self.steps, "history": self.history, "findings": [asdict(each) for each in self.findings]}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes back what `saved` returned."""
        self.steps = list(saved["steps"])
        self.history = {
            measure: {layer: list(values) for layer, values in table.items()}
            for measure, table in saved["history"].items()
        }
        self.findings = [Finding(**{**each, "layers": tuple(each["layers"])}) for each in saved["findings"]]

    # What there is to see

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns maps of layers over steps: gradient norm, update ratio, dead units; with a path, written there too.

        Raises:
            ArgumentError: nothing was inspected yet.
        """
        if not self.steps:
            checks.refuse("a plot needs an inspected update", 0, "Give the monitor to fit among its callbacks.")
        return keep(monitor_figure(self.steps, self.history, self.updates), path)

    def _forget(self) -> None:
        self.steps: list[int] = []
        self.history: dict[str, dict[str, list[float]]] = {measure: {} for measure in MEASURES}
        self.findings: list[Finding] = []

    def _note(self, measure: str, layer: str, value: float) -> None:
        table = self.history[measure]
        table.setdefault(layer, [np.nan] * (len(self.steps) - 1)).append(value)

    def _write_histograms(self, seen: UpdateTrace) -> None:
        folder = self.folder or (self._run_folder and Path(self._run_folder) / "gradients")
        if folder is None or self._say is None:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(folder))
        with self._writer.as_default(step=seen.step):
            for kind, arrays in (("gradients", seen.gradients), ("weights", seen.after)):
                for name, values in arrays.items():
                    if values is not None:
                        values = _flat(values)
                        tf.summary.histogram(f"{kind}/{name}", values[np.isfinite(values)])
        self._writer.flush()

    # What is wrong

    def _judge(self, seen: UpdateTrace) -> None:
        layers = by_layer(seen.before).items()
        judged = [layer for layer, names in layers if any(seen.before[name].ndim > 1 for name in names)]
        self._find(
            "dead units",
            self._lasting("dead_share", list(self.history["dead_share"]), lambda share: share > self.dead),
            f"more than {self.dead:.0%} of the rectified units gave 0 for a whole batch, {{}}. Lower the learning "
            "rate, initialise with He's rule and zero biases, or take leaky_relu, gelu or a norm before the rectifier.",
        )
        self._judge_gradients(judged)
        low, high = self.updates
        self._find(
            "large updates",
            self._lasting("update_ratio", judged, lambda ratio: ratio > high),
            f"a step changes the weights by more than {high:.0e} of their norm, {{}}. About 1e-3 is a good rule; lower "
            "the learning rate.",
        )
        if self._has_found("dead units", "vanishing"):
            return
        small = [
            (layer, -ratio)
            for layer, ratio in self._lasting("update_ratio", judged, lambda ratio: ratio < low)
            if np.nanmax(self.history["update_ratio"][layer]) < low
        ]
        self._find(
            "small updates",
            small,
            f"steps have changed the weights by less than {low:.0e} of their norm since the run began, {{}}. About "
            "1e-3 is a good rule; raise the learning rate if the loss falls slowly.",
        )

    def _judge_gradients(self, judged: list[str]) -> None:
        norms, weights = self.history["gradient_norm"], self.history["weight_norm"]
        times = [(layer, norms[layer][-1] / max(weights[layer][-1], 1e-30)) for layer in judged]
        self._find(
            "exploding",
            [(layer, value) for layer, value in times if value > self.exploding],
            f"the norm of the gradient is over {self.exploding:.0e} times that of the weights, {{}}. Scale the "
            "initialisation down, normalise, clip (clip_norm=1.0) or lower the learning rate.",
        )
        if len(judged) < 2 or self._has_found("dead units"):
            return
        first, last = (norms[layer][-self.patience :] for layer in (judged[0], judged[-1]))
        vanished = [low < self.vanishing * high for low, high in zip(first, last, strict=True)]
        if len(vanished) == self.patience and all(vanished):
            self._find(
                "vanishing",
                [(judged[0], 1.0)],
                f"the gradient norm of the first layer is {first[-1] / last[-1]:.0e} of that of {judged[-1]}, {{}}. "
                "Take relu, gelu or silu, He's initialisation, norms or skip connections.",
            )

    def _lasting(self, measure: str, layers: list[str], wrong: Callable[[float], bool]) -> list[tuple[str, float]]:
        table = self.history[measure]
        recent = {layer: table[layer][-self.patience :] for layer in layers if layer in table}
        return [
            (layer, values[-1])
            for layer, values in recent.items()
            if len(values) == self.patience and all(map(wrong, values))
        ]

    def _has_found(self, *kinds: str) -> bool:
        return any(each.kind in kinds for each in self.findings)

    def _find(self, kind: str, worst: list[tuple[str, float]], text: str) -> None:
        if not worst or self._has_found(kind):
            return
        layers = tuple(layer for layer, _ in sorted(worst, key=lambda pair: -pair[1]))
        more = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
        found = Finding(kind, self.steps[-1], layers, text.format(f"in {', '.join(layers[:NAMED])}{more}"))
        self.findings.append(found)
        if self._say is not None:
            self._say(f"{kind}, seen at step {found.step}: {found.text}")


def by_layer(weights: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the paths of the weights of each layer, by its own path."""
    found: dict[str, list[str]] = {}
    for path in weights:
        found.setdefault(path.rpartition("/")[0] or path, []).append(path)
    return found


def measured(seen: UpdateTrace, names: list[str]) -> dict[str, float]:
    """Returns the figures of the weights with these paths, taken together; NaN where there is no gradient."""
    before, after = (np.concatenate([_flat(each[name]) for name in names]) for each in (seen.before, seen.after))
    slopes = [_flat(seen.gradients[name]) for name in names if seen.gradients.get(name) is not None]
    slope = np.concatenate(slopes) if slopes else np.full(1, np.nan)
    size = np.linalg.norm(before)
    gradient = np.linalg.norm(slope)
    return {
        "gradient_norm": float(gradient) if not slopes or np.isfinite(gradient) else np.inf,
        "weight_norm": float(size),
        "update_ratio": float(np.linalg.norm(after - before) / size) if size else np.nan,
        "zero_share": float(np.mean(slope == 0)) if slopes else np.nan,
    }


def rectified_units(model: keras.Model) -> tuple[list[str], Callable[[Any], list[np.ndarray]]] | None:
    """Returns the layers of a model that rectify, and a function from a batch of inputs to each one's dead share.

    The batch goes through the model as in training, with statistics of its own in batch norms, and leaves no trace.
    None for a model without such layers, and for one whose graph is not known.
    """
    if not getattr(model, "inputs", None):
        return None
    layers = [layer for layer in model.layers if _rectifies(layer)]
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    try:
        watched = keras.Model(inputs, [layer.output for layer in layers], name="rectified") if layers else None
    except (ValueError, AttributeError):  # a layer that was first called in another graph
        return None
    if watched is None:
        return None

    @tf.function(autograph=False, reduce_retracing=True)
    def dead(batch):
        values = [
            [each.value for each in group] for group in (watched.trainable_variables, watched.non_trainable_variables)
        ]
        outputs, _ = watched.stateless_call(*values, batch, training=True)
        outputs = [tf.reshape(each, (-1, tf.shape(each)[-1])) for each in keras.tree.flatten(outputs)]
        return [tf.reduce_mean(tf.cast(tf.reduce_all(each <= 0, axis=0), tf.float32)) for each in outputs]

    return [layer.name for layer in layers], lambda batch: [each.numpy() for each in dead(batch)]


def _rectifies(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return not np.any(layer.negative_slope)
    return getattr(layer, "activation", None) in RELUS


def _flat(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64).ravel()
