"""Data of a drawn call in the form in which they are handed to it: arrays, nested lists, pipelines."""

from typing import Any

from training_cases import PAIRS


def data_of(case: Any, feed: Any) -> Any:
    """Returns data as they are handed over."""
    import numpy as np
    import tensorflow as tf

    from kerasdl.data import as_dataset

    inputs, labels = [array[feed.rows] for array in case.inputs], [head.labels[feed.rows] for head in case.heads]
    if feed.flaw is not None and inputs[0].dtype.kind == "f":
        inputs[0] = inputs[0].copy()
        inputs[0][0].reshape(-1)[0] = np.nan if feed.flaw == "nan" else np.inf
    x, y = bare(inputs), bare(labels)
    several = max(len(inputs), len(labels)) > 1
    arrays = {
        "pair": lambda: (x, y),
        "list of two": lambda: [x, y],
        "record": lambda: as_dataset((x, y)),
        "nested lists": lambda: (x.tolist(), y.tolist()),
        "strided": lambda: tuple(np.repeat(part, 2, 0)[::2] for part in (x, y)),
        "big-endian": lambda: tuple(part.astype(part.dtype.newbyteorder(">")) for part in (x, y)),
        "fortran": lambda: (np.asfortranarray(x), np.asfortranarray(y)),
        "triple": lambda: (x, y, np.ones(len(feed.rows), "float32")),
        "dict": lambda: {"x": x, "y": y},
        "generator": lambda: ((x, y) for _ in range(3)),
        "inputs alone": lambda: x,
        "unequal": lambda: (x, np.concatenate([labels[0], labels[0][:1]])),
        "empty": lambda: (inputs[0][:0], labels[0][:0]),
    }
    if several and feed.container in PAIRS:
        return _nested(case, feed, inputs, labels)
    if feed.container in arrays:
        return arrays[feed.container]()
    return pipeline_of(case, feed, inputs, labels, tf)


def pipeline_of(case: Any, feed: Any, inputs: list, labels: list, tf: Any) -> Any:
    x, y = _nested(case, feed, inputs, labels)
    slices = tf.data.Dataset.from_tensor_slices
    plain = {
        "pipeline of inputs": lambda: slices(x).batch(feed.batch),
        "unbatched pipeline": lambda: slices((x, y)),
        "empty pipeline": lambda: slices((x, y)).batch(feed.batch).take(0),
        "iterator": lambda: iter(slices((x, y)).batch(feed.batch)),
    }
    if feed.container in plain:
        return plain[feed.container]()
    source = slices((x, y))
    for name, value in feed.stages:
        source = staged(source, name, value, tf)
    return source


def _nested(case: Any, feed: Any, inputs: list, labels: list) -> tuple[Any, Any]:
    """Returns inputs and labels in dicts by name, or in tuples, where there are several."""
    x = {f"in{k}": each for k, each in enumerate(inputs)} if feed.dicts and len(inputs) > 1 else _tupled(inputs)
    named = feed.dicts and len(labels) > 1
    return x, {h.name: each for h, each in zip(case.heads, labels, strict=True)} if named else _tupled(labels)


def _tupled(parts: list) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)


def staged(source: Any, name: str, value: Any, tf: Any) -> Any:
    """Returns a pipeline with one more stage."""
    if name == "batch":
        return source.batch(value[0], drop_remainder=value[1])
    if name == "shuffle":
        return source.shuffle(100, seed=value[0], reshuffle_each_iteration=value[1])
    if name == "filter":
        return source.filter(lambda *batch: True)
    if name == "generator":
        free = tf.nest.map_structure(lambda s: tf.TensorSpec((None, *s.shape[1:]), s.dtype), source.element_spec)
        return tf.data.Dataset.from_generator(source.__iter__, output_signature=free)
    if name == "options":
        return source.with_options(tf.data.Options())
    steps = {"repeat": source.repeat, "endless": source.repeat, "take": source.take, "skip": source.skip}
    if name in steps:
        return steps[name](value)
    return source.prefetch(2) if name == "prefetch" else source.cache()


def bare(parts: list) -> Any:
    """Returns the only part, or the list of several."""
    return parts[0] if len(parts) == 1 else list(parts)
