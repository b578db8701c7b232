"""Property test of training: drawn calls of `fit` and `finetune` come to what plain NumPy gives, or are refused.

`run(seconds, seed)` gives the figures. Every call is made in a child process, which is ended where it does not answer:
data without end must never be read to their end. A refusal is one line of an error of ours.
"""

import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from training_cases import drawn
from training_data import bare, data_of

ROOT = Path(__file__).parents[2]
LIMIT = 120.0  # seconds for one call, on a busy machine
LIFE = 150  # calls that a child makes before a fresh one takes over
DIVERGED = 1e15  # the gradient of such a loss, squared, is infinite in 32 bits
LONGEST = 500  # characters in a refusal


@dataclass
class Figures:
    """What a run has seen."""

    calls: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    refused: Counter = field(default_factory=Counter)
    """Refused calls by the reason that NumPy's side gives."""
    finds: list[tuple[int, str]] = field(default_factory=list)
    """The seed, and what was wrong."""

    def __str__(self) -> str:
        pace = 3600 * self.calls / max(self.seconds, 1e-9)
        lines = [
            f"training: {self.calls} calls ({pace:.0f} an hour), {sum(self.refused.values())} refused; "
            f"{len(self.finds)} finds"
        ]
        lines += [f"  refused {count:4d} {reason}" for reason, count in sorted(self.refused.items())]
        lines += [f"  FIND seed {seed}: {what}" for seed, what in self.finds]
        return "\n".join(lines)


def run(
    seconds: float, seed: int = 0, *, count: int | None = None, tell: Callable[[str], None] = lambda line: None
) -> Figures:
    """Draws calls from `seed` on until the time is over or so many are done, and returns what was seen.

    Args:
        seconds: how long to go on.
        seed: of the first call; the next ones count on.
        count: how many calls at most.
        tell: gets a line for every find.
    """
    from fuzz_child import Child

    started, figures, child = time.monotonic(), Figures(), Child(__file__, LIMIT, LIFE)
    try:
        while time.monotonic() < started + seconds and figures.calls != count:
            answer = child.ask({"seed": seed})
            if answer["outcome"] == "refused":
                figures.refused[answer["what"]] += 1
            elif answer["outcome"] != "right":
                figures.finds.append((seed, f"{answer['outcome']}: {answer['what']}"))
                tell(f"FIND seed {seed}, {answer['outcome']}: {answer['what']}")
            figures.calls += 1
            seed += 1
    except KeyboardInterrupt:
        figures.interrupted = True
    finally:
        child.end()
    figures.seconds = time.monotonic() - started
    return figures


def examine(seed: int) -> tuple[str, str]:
    """Makes the call of a seed; returns "right", "refused" or "find", and what is to be said of it."""
    import keras
    from training_oracle import answer

    from kerasdl.core import KerasdlError

    keras.backend.clear_session()
    case = drawn(seed)
    expected = answer(case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model, run = called(case)
        except KerasdlError as error:
            text = str(error)
            if not text.isprintable() or len(text) > LONGEST:
                return "find", f"no line: {type(error).__name__} {text!r} | {case}"
            if expected.refused:
                return "refused", expected.refused
            if "not finite" in text and any(
                abs(value) > DIVERGED for each in expected.history for value in each.values()
            ):
                return "refused", "a loss beyond what 32 bits hold"
            return "find", f"refused though right: {text} | {case}"
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            return "find", f"raised {type(error).__name__}: {text} | {expected.refused} | {case}"
    if (expected.refused or "").endswith("unbatched pipeline") and "unbuilt" in case.net:
        return "refused", "rows that an unbuilt net takes for batches"
    if expected.refused:
        return "find", f"not refused: {expected.refused} | {case}"
    ours = [str(each.message) for each in caught if "/kerasdl/" in each.filename and not _meant(each.category)]
    wrong = [f"warned: {ours[0]}"] if ours else judged(case, expected, model, run) or evaluated(case, expected, model)
    return ("find", f"{wrong[0]} | {case}") if wrong else ("right", "")


def _meant(category: type) -> bool:
    return category.__module__.startswith("kerasdl")


def judged(case: Any, expected: Any, model: Any, run: Any) -> list[str]:
    """Returns in what a run differs from the one in NumPy."""
    from training_oracle import agree

    wrong, epochs = [], len(expected.history)
    if len(run.history["loss"]) != epochs and case.call == "fit":
        return [f"{len(run.history['loss'])} epochs for {epochs}"]
    for name in ("loss", "val_loss"):
        figures = [epoch[name] for epoch in expected.history if name in epoch][-len(run.history["loss"]) :]
        if not agree(run.history.get(name, []), figures, max(map(abs, figures), default=1.0)):
            wrong.append(f"{name} {run.history.get(name)} for {figures}")
    for layer, parts in zip(_layers(model, case), expected.weights, strict=True):
        for found, part in zip(layer, parts, strict=True):
            if not agree(found, part):
                wrong.append(f"a weight is off by {abs(found - part).max():.3g} of {abs(part).max():.3g}")
    if case.metrics_given and len(case.heads) == 1 and case.heads[0].metrics:
        names = [name for name in run.history if name not in ("loss", "learning_rate", "val_loss")]
        for prefix in ("", "val_")[: 1 + (case.validation is not None)]:
            figures = [epoch[f"{prefix}0 {case.heads[0].metrics[0]}"] for epoch in expected.history]
            (name,) = [each for each in names if each.startswith("val_") == bool(prefix)]
            if not expected.near and not agree(run.history[name], figures, max(map(abs, figures))):
                wrong.append(f"{name} {run.history[name]} for {figures}")
    return wrong


def evaluated(case: Any, expected: Any, model: Any) -> list[str]:
    """Returns in what the evaluation of a bundle of the trained model differs from the one in NumPy."""
    from training_oracle import Trainer, agree

    from kerasdl import Bundle
    from kerasdl.core import ArgumentError

    head, width = case.heads[0], case.shapes[0][-1]
    plain = case.net == "functional" and len(case.heads) == len(case.shapes) == len(case.shapes[0]) == 1
    classes = head.kind == "numbers" and head.units > 1 and head.end != "sigmoid" and head.ignore is None
    if not (plain and classes and case.train.is_pipeline) or head.labels.max() >= head.units or head.flaw:
        return []
    settings = {"mean": [0.0] * width, "std": [1.0] * width}
    bundle = Bundle.of(model, name="drawn", task="tabular_classification", preprocess=settings)
    try:
        found = bundle.evaluate(data_of(case, case.train))
    except ArgumentError as error:
        return [] if case.train.endless and "must end" in str(error) else [f"not evaluated: {error}"]
    if case.train.endless:
        return ["evaluated without end"]
    trainer = Trainer(case)
    figures = trainer.evaluated(expected.weights)
    same = agree(found["loss"], figures["loss"], max(1, figures["loss"]))
    same &= trainer.near or agree(found["accuracy"], figures["accuracy"])
    return [] if same else [f"evaluated {found} for {figures}"]


def _layers(model: Any, case: Any) -> list[list]:
    import numpy as np

    layers = [layer for layer in model.layers if layer.weights]
    order = [*(f"hidden{place}" for place in range(case.hidden)), *(head.name for head in case.heads)]
    by_name = {layer.name: [np.array(weight) for weight in layer.get_weights()] for layer in layers}
    return [by_name[name] for name in order]


# The call


def called(case: Any) -> tuple[Any, Any]:
    """Makes the call of a case; returns the model and the run."""
    from kerasdl.train import RunConfig, finetune, fit

    model = net_of(case)
    if case.compiled:
        model.compile("adam", "mae")
    config = RunConfig(**{"optimizer": "sgd", "strategy": None, "progress": "off", "shuffle": False, **case.settings})
    validation = None if case.validation is None else data_of(case, case.validation)
    train = data_of(case, case.train)
    if case.call == "finetune":
        given = {**case.options, "head": case.heads[0].name}
        run = finetune(model, train, validation=validation, task=case.task, config=config, **given)
    else:
        metrics = metrics_of(case) if case.metrics_given else None
        given = {"loss": loss_of(case), "metrics": metrics, "task": case.task}
        run = fit(model, train, validation=validation, config=config, **given)
    return model, run


def net_of(case: Any) -> Any:
    """Builds the net of a case."""
    import keras

    ends = {"linear": None}
    names = [f"hidden{place}" for place in range(case.hidden)] + [head.name for head in case.heads]
    units = [layer[0].shape[1] for layer in case.weights]
    acts = ["tanh"] * case.hidden + [ends.get(head.end, head.end) for head in case.heads]
    made = []
    for name, size, act, layer in zip(names, units, acts, case.weights, strict=True):
        kernel, bias = (keras.initializers.Constant(part) for part in layer)
        made.append(keras.layers.Dense(size, act, kernel_initializer=kernel, bias_initializer=bias, name=name))
    if case.net.startswith("sequential"):
        flat = [keras.layers.Flatten()] if len(case.shapes[0]) == 3 else []
        entry = [] if "unbuilt" in case.net else [keras.Input(case.shapes[0])]
        return keras.Sequential([*entry, *flat, *made])
    if case.net.startswith("subclass"):
        return _subclass(case, made)
    inputs = [keras.Input(shape, name=f"in{place}") for place, shape in enumerate(case.shapes)]
    x = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    x = keras.layers.Flatten()(x) if len(case.shapes[0]) == 3 else x
    for layer in made[: case.hidden]:
        x = layer(x)
    outputs = [layer(x) for layer in made[case.hidden :]]
    if case.net == "functional in dicts":
        named = {head.name: output for head, output in zip(case.heads, outputs, strict=True)}
        return keras.Model({tensor.name: tensor for tensor in inputs}, named)
    return keras.Model(bare(inputs), bare(outputs))


def _subclass(case: Any, made: list) -> Any:
    import keras

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat = keras.layers.Flatten() if len(case.shapes[0]) == 3 else None
            self.made = made

        def call(self, x):
            x = x if self.flat is None else self.flat(x)
            for layer in self.made:
                x = layer(x)
            return x

    model = Net()
    if "unbuilt" not in case.net:
        model(keras.ops.zeros((1, *case.shapes[0])))
    return model


def loss_of(case: Any) -> Any:
    """Returns the loss of a case in the form it is given in."""
    losses = [_loss(head) for head in case.heads]
    if case.heads[0].loss is None:
        return None
    form = case.heads[0].form
    if len(losses) == 1 and form not in ("list", "dict"):
        return losses[0]
    names = [head.name for head in case.heads]
    return dict(zip(names, losses, strict=True)) if form == "dict" else losses


def _loss(head: Any) -> Any:
    import keras

    from kerasdl.losses import Focal, SmoothedCrossEntropy

    if head.loss is None:
        return None
    functions = {"sparse": "sparse_categorical_crossentropy", "categorical": "categorical_crossentropy"}
    functions |= {"binary": "binary_crossentropy", "mse": "mean_squared_error", "mae": "mean_absolute_error"}
    if head.form == "alias":
        return "crossentropy" if head.units % 2 else "ce"
    if head.loss in functions and head.form in ("name", "function"):
        name = functions[head.loss]
        return name if head.form == "name" else getattr(keras.losses, name)
    ours = {"focal": partial(Focal, 2.0), "smoothed": partial(SmoothedCrossEntropy, 0.0)}
    if head.loss in ours:
        return ours[head.loss](from_logits=gives_logits(head))
    classes = {"sparse": "SparseCategoricalCrossentropy", "categorical": "CategoricalCrossentropy"}
    classes |= {"binary": "BinaryCrossentropy", "mse": "MeanSquaredError", "mae": "MeanAbsoluteError"}
    extra = {} if head.loss in ("mse", "mae") else {"from_logits": gives_logits(head)}
    extra |= {} if head.ignore is None else {"ignore_class": head.ignore}
    return getattr(keras.losses, classes[head.loss])(**extra)


def gives_logits(head: Any) -> bool:
    return head.logits and head.form not in ("name", "alias", "function")


def metrics_of(case: Any) -> Any:
    import keras

    classes = {"sparse": keras.metrics.SparseCategoricalAccuracy, "categorical": keras.metrics.CategoricalAccuracy}
    classes |= {"binary": keras.metrics.BinaryAccuracy, "mse": keras.metrics.MeanSquaredError}
    each = [[classes[name]() if name in classes else name for name in head.metrics] for head in case.heads]
    return each[0] if len(each) == 1 else each if any(each) else []


def answer_tasks() -> None:
    """Answers tasks from standard input until it ends; the child's side."""
    sys.path[:0] = [str(ROOT)]
    for line in sys.stdin:
        outcome, what = examine(json.loads(line)["seed"])
        from fuzz_child import MARK

        print("\n" + MARK + json.dumps({"outcome": outcome, "what": what}), flush=True)


if __name__ == "__main__":
    answer_tasks()
