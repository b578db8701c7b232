"""Broadcasting sums that Keras computes along another axis: found by shapes, then mended or refused by name.

Keras 3.15 on TensorFlow takes the second summand of `keras.ops.add`, and so of the layer `Add` and of `+` between Keras
tensors and variables, for a bias where one of its sizes alone is above 1 and equals the second or the last size of the
first summand. It drops the other axes and adds the bias along the last axis, or else along the second, wherever the
size stood: (4, 4, 1) + (4, 1, 1) then adds row i to step i of every row, and (1, 3) + (3, 1) is (1, 3). Subtraction and
multiplication have no such case.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend  # the functions behind keras.ops, which have no public names
from keras.src.backend.common.name_scope import current_path

Size = int | None
_USUAL_ADD = backend.numpy.add
_REPLACEMENTS: list[Callable[[Any, Any], Any]] = []
_LOCK = threading.Lock()
_MENDED = "_predict_function_of_mended_sums"


def is_misread(first: Sequence[Size], second: Sequence[Size]) -> bool:
    """Returns whether Keras adds tensors of two shapes along another axis than NumPy.

    Args:
        first: the sizes of the first summand; None is a free one.
        second: the sizes of the second summand.

    Example:
        >>> is_misread((4, 4, 1), (4, 1, 1)), is_misread((4, 1, 1), (4, 4, 1)), is_misread((None, 4, 1), (None, 1, 1))
        (True, False, False)
    """
    large = [axis for axis, size in enumerate(second) if size is None or size > 1]
    if len(large) != 1 or len(first) < 2:
        return False
    size, axis = second[large[0]], large[0] - len(second)  # counted from the end, as NumPy aligns
    if size is None or size not in (first[1], first[-1]):
        return False
    taken = -1 if first[-1] == size else 1 - len(first)
    addable = axis < -len(first) or first[axis] in (None, 1, size)  # else NumPy refuses: a bias of channels_first
    return addable and (taken != axis or len(second) > len(first))


@contextmanager
def mended_sums() -> Iterator[list[str]]:
    """Context manager in which Keras adds such tensors as NumPy does; yields these sums in words, as they come."""
    sums: list[str] = []

    def mend(x1: Any, x2: Any) -> tf.Tensor:
        sums.append(_in_words(x1, x2))
        dtype = keras.backend.result_type(x1.dtype, x2.dtype)
        return tf.add(keras.ops.cast(x1, dtype), keras.ops.cast(x2, dtype))

    with _misread_sums(mend):
        yield sums


@contextmanager
def refused_sums(error: type[Exception]) -> Iterator[None]:
    """Context manager that refuses such a sum, in a call or while a function is traced, with the name of its layer.

    Args:
        error: the class of the error.

    Raises:
        error: Keras would add two tensors along another axis.
    """
    sums: list[str] = []

    def refuse(x1: Any, x2: Any) -> None:
        sums.append(_in_words(x1, x2))
        raise error(sums[0])

    try:
        with _misread_sums(refuse):
            yield
    except Exception as failure:  # Keras and TensorFlow wrap it in texts of their own
        if not sums:
            raise
        raise error(
            f"a sum must add axis by axis, as NumPy does; got {sums[0]}, where Keras takes the second for a bias of "
            "another axis. Give the smaller summand first, or change the size that both share."
        ) from failure


@contextmanager
def _misread_sums(replacement: Callable[[Any, Any], Any]) -> Iterator[None]:
    with _LOCK:
        _REPLACEMENTS.append(replacement)
        backend.numpy.add = _add
    try:
        yield
    finally:
        with _LOCK:  # blocks of several threads may end in any order
            _REPLACEMENTS.remove(replacement)
            if not _REPLACEMENTS:
                backend.numpy.add = _USUAL_ADD


def _add(x1: Any, x2: Any) -> Any:
    """Returns a sum, by the last replacement where Keras would misread it."""
    shapes, last = [_sizes(x1), _sizes(x2)], _REPLACEMENTS[-1:]
    return last[0](x1, x2) if last and None not in shapes and is_misread(*shapes) else _USUAL_ADD(x1, x2)


def predicted(model: keras.Model, inputs: Any, batch_size: int) -> Any:
    """Returns what `model.predict` gives with mended sums, also where its function was compiled before, without them.

    Args:
        model: a Keras model.
        inputs: as in `model.predict`.
        batch_size: examples computed at once.
    """
    with mended_sums():
        if getattr(model, _MENDED, None) is not model.predict_function or model.predict_function is None:
            model.make_predict_function(force=True)
            object.__setattr__(model, _MENDED, model.predict_function)  # no attribute of Keras, which would track it
        return model.predict(inputs, batch_size=batch_size, verbose=0)


def _sizes(x: Any) -> tuple[Size, ...] | None:
    """Returns the sizes of a dense tensor, an array or a variable; None for anything else."""
    shape = None if isinstance(x, (tf.SparseTensor, tf.IndexedSlices)) else getattr(x, "shape", None)
    known = shape is not None and getattr(shape, "rank", 0) is not None
    return tuple(shape) if known else None


def _in_words(x1: Any, x2: Any) -> str:
    layer = current_path().rpartition("/")[2]
    return f"{_sizes(x1)} + {_sizes(x2)} in " + (f"layer {layer!r}" if layer else "a function outside any layer")
