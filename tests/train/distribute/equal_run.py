"""Runs to be compared: `python equal_run.py FOLDER` trains every case, alone and on two devices, or as a worker.

Each case leaves its weights after its updates, and its figures, in a file of FOLDER: alone.npz, permuted.npz (another
order inside each batch, the cases of `ROUNDED` alone) and mirrored.npz (two logical CPUs) of a process alone,
worker0.npz or worker1.npz of a worker. In float64 all but rounding shows; in float32 the plain cases run, and those
whose numbers are drawn or short.
"""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kerasdl
from kerasdl.train import RunCallback, RunConfig, Trainer, fit

BATCH, STEPS, EXAMPLES = 16, 20, 80
LONG = 50  # updates of the cases whose loss curves are compared
LOSS = {"from_logits": True}
SETTINGS = {"steps": STEPS, "batch_size": BATCH, "shuffle": False, "progress": "off"}


class OwnStep(keras.Model):
    """A trainer with a `train_step` of its own, as in the guides of Keras."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        for metric in self.metrics:
            if metric.name != "loss":
                metric.update_state(y, outputs)
        return {"loss": loss}


class Rivals(Trainer):
    """A classifier and a network that judges its logits, each with an optimizer of its own."""

    def __init__(self, classifier, judge):
        super().__init__({"classifier": classifier, "judge": judge})
        self.given = keras.losses.SparseCategoricalCrossentropy(**LOSS)
        self.entropy = keras.losses.BinaryCrossentropy(**LOSS)

    def train_step(self, data):
        (x, y), (classifier, judge) = data, self.networks.values()
        wanted = keras.ops.cast(keras.ops.expand_dims(y, -1) > 0, "float32")
        with tf.GradientTape(persistent=True) as tape:
            logits = classifier(x, training=True)
            judge_loss = self.entropy(wanted, judge(logits))
            loss = self.given(y, logits) - judge_loss / 4
        self.minimize(judge_loss, tape, "judge")
        if not self.gradients_first:
            with tf.GradientTape() as tape:
                logits = classifier(x, training=True)
                loss = self.given(y, logits) - self.entropy(wanted, judge(logits)) / 4
        self.minimize(loss, tape, "classifier")
        return {"loss": loss, "judge_loss": judge_loss}


class RivalsAtOnce(Rivals):
    """Takes both gradients before the first update, so that a batch may come in parts."""

    gradients_first = True


def jitter(image, seed):
    return image + tf.random.stateless_normal(image.shape, seed, stddev=0.3)


def net(kind=keras.Model, norm=True, dropout=0.0):
    kerasdl.set_seed(3)
    tensor = keras.Input((8, 8, 2))
    features = keras.layers.Conv2D(8, 3, padding="same", name="conv")(tensor)
    if norm:
        features = keras.layers.BatchNormalization(synchronized=True, name="norm")(features)
    features = keras.layers.Dropout(dropout, name="drop")(keras.layers.ReLU(name="relu")(features))
    features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return kind(tensor, keras.layers.Dense(3, name="head")(features))


def data(examples, permuted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 8, 8, 2)).astype("float32")
    y = (x.mean((1, 2, 3)) * 20).round().astype("int32") % 3
    if permuted:  # each batch in another order: what rounding alone does
        places = np.concatenate(
            [start + rng.permutation(min(BATCH, examples - start)) for start in range(0, examples, BATCH)]
        )
        x, y = x[places], y[places]
    return x, y


class Whose(RunCallback):
    """Measures which worker this is: all must have the chief's figure, which is that of a run alone."""

    def measure(self, epoch):
        return {"whose": float(worker_number() or 0)}


def by_fit(permuted, examples=EXAMPLES, norm=True, dropout=0.0, augment=None, validation=False, **settings):
    model, (x, y) = net(norm=norm, dropout=dropout), data(examples, permuted)
    config = RunConfig(
        learning_rate=1e-2,
        optimizer="adam",
        augment=augment,
        **{**SETTINGS, **settings},
    )
    loss = keras.losses.SparseCategoricalCrossentropy(**LOSS)
    held_out = tuple(part[:35] for part in data(EXAMPLES, permuted=False)) if validation else None
    run = fit(model, (x, y), validation=held_out, loss=loss, metrics=["accuracy"], callbacks=[Whose()], config=config)
    return model, run


def by_own_step(permuted, accumulation=1, norm=True, **settings):
    model, (x, y) = net(OwnStep, norm), data(EXAMPLES, permuted)
    optimizer = keras.optimizers.Adam(1e-2, **settings)
    model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(**LOSS), metrics=["accuracy"])
    config = RunConfig(**SETTINGS, accumulation=accumulation)
    return model, fit(model, (x, y), config=config)


def by_trainer(permuted, kind=Rivals, accumulation=1, norm=True, **settings):
    logits = keras.Input((3,))
    trainer = kind(net(norm=norm), keras.Model(logits, keras.layers.Dense(1, name="score")(logits)))
    trainer.compile({"classifier": keras.optimizers.Adam(1e-2, **settings), "judge": keras.optimizers.SGD(0.1)})
    run = fit(trainer, data(EXAMPLES, permuted), config=RunConfig(**SETTINGS, accumulation=accumulation))
    return trainer, run


CASES = {
    "plain": lambda permuted: by_fit(permuted, validation=True),
    "accumulation": lambda permuted: by_fit(permuted, accumulation=2, norm=False),
    "clip_norm": lambda permuted: by_fit(permuted, clip_norm=0.05),
    "clip_value": lambda permuted: by_fit(permuted, clip_value=0.01),
    "uneven_ema": lambda permuted: by_fit(permuted, examples=85, ema=0.9, validation=True),
    "almost_empty": lambda permuted: by_fit(permuted, examples=81, norm=False),
    "random": lambda permuted: by_fit(permuted, dropout=0.3, augment=jitter, shuffle=True, steps=LONG),
    "other_seed": lambda permuted: by_fit(permuted, dropout=0.3, augment=jitter, shuffle=True, steps=LONG, seed=1),
    "bfloat16": lambda permuted: by_fit(permuted, mixed_precision="bfloat16", steps=LONG),
    "own": lambda permuted: by_own_step(permuted),
    "own_accumulation": lambda permuted: by_own_step(permuted, accumulation=2, norm=False),
    "own_clip_ema": lambda permuted: by_own_step(permuted, global_clipnorm=0.05, use_ema=True, ema_momentum=0.9),
    "trainer": lambda permuted: by_trainer(permuted, use_ema=True, ema_momentum=0.9),
    "trainer_accumulation": lambda permuted: by_trainer(permuted, RivalsAtOnce, 2, norm=False, global_clipnorm=0.05),
}

ALONE = ("other_seed",)  # its curve is only compared with that of `random` alone
ROUNDED = ("plain", "own")
ONLY_FLOAT32 = ("random", "other_seed", "bfloat16")
RUNS = {
    "float64": [name for name in CASES if name not in ONLY_FLOAT32],
    "float32": [*ROUNDED, *ONLY_FLOAT32],
}


def main(folder):
    if worker_number() is not None:
        train(Path(folder) / f"worker{worker_number()}.npz", without=ALONE)
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    train(Path(folder) / "alone.npz")
    train(Path(folder) / "permuted.npz", runs={"float32": ROUNDED}, permuted=True)
    SETTINGS["strategy"] = "mirrored"
    train(Path(folder) / "mirrored.npz", without=ALONE)


def train(file, runs=RUNS, without=(), permuted=False):
    found = {}
    for precision, names in runs.items():
        keras.config.set_dtype_policy(precision)
        keras.config.set_floatx(precision)
        for name in names:
            if name in without:
                continue
            model, run = CASES[name](permuted)
            weights = np.concatenate([np.ravel(weight.numpy()) for weight in model.weights])
            found[f"{precision}/{name}/weights"] = weights.astype("float64")
            for figure, values in run.history.items():
                found[f"{precision}/{name}/{figure}"] = np.array(values)
            print(precision, name, weights.std(), run.history["loss"][-1], flush=True)
    np.savez(file, **found)


def worker_number():
    """Gives the number of this worker, or None alone."""
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task")
    return task and task["index"]


if __name__ == "__main__":
    main(*sys.argv[1:])
