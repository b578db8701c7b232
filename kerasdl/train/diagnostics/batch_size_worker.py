"""Worker process of `find_batch_size`: runs training steps, so that a batch beyond the memory ends this process alone.

It reads one JSON line of settings and answers `{}` once the model is loaded. Then it reads one batch size for each line
and answers `{"seconds": ..., "memory": ...}`, or `{"full": reason}` where TensorFlow found no memory. A model that
cannot be loaded is answered with `{"refused": reason}`.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core.memory import forget_peak, peak_memory

from ..engine.train_steps import make_train_step
from .dry_run import has_own_objective

FEWEST, MOST = 3, 50
PROCESS = Path("/proc/self")


def main() -> None:
    """Serves the requests on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # printed text of layers must not mix with the answers
    _prefer_oom_kill()
    settings = json.loads(sys.stdin.readline())

    def answer(value: Mapping[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    tf.config.threading.set_intra_op_parallelism_threads(settings["intra"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["inter"])
    try:
        model = _load(settings)
    except Exception as error:  # any error of the user's classes
        answer({"refused": _reason(error)})
        return
    answer({})
    step = make_train_step(model, None)
    examples = next(iter(tf.data.Dataset.load(settings["examples"])))
    for line in sys.stdin:
        forget_peak()
        try:
            seconds = seconds_per_update(step, examples, int(line), settings["seconds"])
            answer({"seconds": seconds, "memory": peak_memory()})
        except tf.errors.ResourceExhaustedError as error:
            answer({"full": error.message.partition("\n")[0]})


def seconds_per_update(step: Callable, examples: Any, batch_size: int, seconds: float) -> float:
    """Returns the shortest time of an update on a batch held in memory, which repeats a few examples.

    Args:
        step: the result of `make_train_step`.
        examples: a batch.
        batch_size: examples in the batch to time.
        seconds: time to spend; at least 3 and at most 50 updates are timed.
    """
    count = keras.tree.flatten(examples)[0].shape[0]
    size = tf.constant(batch_size)  # captured, so that one trace serves all sizes

    def enlarged(*batch):
        return tf.nest.map_structure(lambda part: tf.gather(part, tf.range(size) % count), batch)

    stream = iter(tf.data.Dataset.from_tensors(examples).map(enlarged).cache().repeat())
    _wait(step(stream))  # traces and allocates
    times: list[float] = []
    while len(times) < FEWEST or (sum(times) < seconds and len(times) < MOST):
        started = time.perf_counter()
        _wait(step(stream))
        times.append(time.perf_counter() - started)
    return min(times)


def _load(settings: Mapping[str, Any]) -> keras.Model:
    for name in settings["modules"]:  # Keras does not import the modules of registered classes
        with suppress(ImportError):
            importlib.import_module(name)
    # Not in safe mode: the file was just written from a model of the same user.
    model = keras.models.load_model(settings["model"], compile=settings["objective"] is None, safe_mode=False)
    if settings["objective"] is not None:
        optimizer, loss = keras.saving.deserialize_keras_object(settings["objective"], safe_mode=False)
        model.compile(optimizer, loss=loss)
    elif not (model.compiled and has_own_objective(model)):
        raise ValueError("its file does not restore its loss and optimizer; see get_compile_config")
    return model


def _reason(error: Exception) -> str:
    # Keras names the cause in the middle of a long text.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if "Could not" in line] or lines or [type(error).__name__]
    return lines[0].partition(" Full object config")[0][:300]


def _prefer_oom_kill() -> None:
    # Where memory runs out, the kernel kills this process rather than the user's.
    try:
        (PROCESS / "oom_score_adj").write_text("1000")
    except OSError:
        return


def _wait(values: Any) -> None:
    keras.tree.flatten(values)[0].numpy()


if __name__ == "__main__":
    main()
