"""Bias correction of int8 TFLite files: the mean error of each output channel is subtracted from the bias of its layer.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2
(https://arxiv.org/abs/1906.04721), in its empirical form. Rounded weights and clipped inputs move the mean of what a
channel gives, before its activation; the bias moves it back:

    b' = b + E[W x] - E[W' x']        W, x of the float file; W', x' of the int8 file; E over examples and places

Layers are corrected in the order in which they run, so that each sees the inputs that corrected layers give it.

Deviations from the paper: a product is linear, so that both means follow from the mean inputs, E[W x] = W E[x]; no
output is needed before its activation, which files fuse. The operations between two layers are cut out as a file and
run once, so that all layers together cost one pass and not one each.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ...export.parity import drifts_of
from ...export.tracing import first_line, silenced
from ..flatbuffer import DTYPES, indices, operation_name, packed

LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
EXAMPLES = 64  # for the means, and as many to compare on; 32 were as good on EfficientNet-Lite0
FEWEST = 20  # of fewer examples all do both
HELD_OUT = 4  # every fourth example compares
MEMORY = 2**30  # bytes of activations held between two layers
LARGEST = 2**30  # a bias beyond leaves no room to add products: its channel has all but no kernel
HALF_STEP = 0.51
SHARED = 8  # a kernel that more operators read is that of a recurrent layer, whose steps would each need a bias

Arrays = dict[str, np.ndarray]
Part = dict[int, np.ndarray]  # by tensor


@dataclass(frozen=True)
class Correction:
    """The better of an int8 file and its corrected form."""

    content: bytes
    """The file."""
    note: str
    """What was done, with the figures of both."""


def corrected_file(
    content: bytes,
    float_content: bytes,
    arrays: Arrays,
    model: Callable[[Arrays], Arrays],
    run: Callable[[bytes, Arrays], Arrays],
) -> Correction:
    """Corrects the biases of an int8 file, and keeps it where it lies nearer to the model on other examples.

    Args:
        content: the int8 file.
        float_content: the float file from which it was made.
        arrays: the examples that calibrated it, by input name; three of four give the means and every fourth compares,
            fewer than 20 do both.
        model: gives the model's outputs by name.
        run: gives a file's outputs by name.

    Returns:
        The better file by the mean over outputs of the root mean squared difference, and a note that says which.
    """
    count = len(next(iter(arrays.values())))
    apart = count >= FEWEST
    held = np.arange(count) % HELD_OUT == HELD_OUT - 1 if apart else np.full(count, True)
    shown = ~held if apart else held
    judging = {name: array[held][:EXAMPLES] for name, array in arrays.items()}
    try:
        with silenced():
            corrected, layers, rows = _corrected(content, float_content, {name: arrays[name][shown] for name in arrays})
    except (RuntimeError, ValueError) as error:  # an operation that does not run alone: the file as it is does
        return Correction(content, f"biases are not corrected: {first_line(error)}")
    if not layers:
        return Correction(content, "biases are not corrected: no layer has an int8 kernel and a bias of its own")
    expected = model(judging)
    before, after = (_differences(expected, run(each, judging)) for each in (content, corrected))
    better = np.mean([*after.values()]) < np.mean([*before.values()])
    done = f"biases of {layers} layers are corrected" if better else "biases stay: corrected ones are no better"
    figures = ", ".join(f"from {before[name]:.3g} to {after[name]:.3g} ({name!r})" for name in before)
    of = f"{len(next(iter(judging.values())))} {'others' if apart else 'of the same'}"
    note = f"{done}: means of {rows} examples, rmse difference on {of} {figures}"
    return Correction(corrected if better else content, note)


def _differences(expected: Arrays, actual: Arrays) -> dict[str, float]:
    return {each.output: each.rmse for each in drifts_of("real", expected, actual)}


def _corrected(content: bytes, float_content: bytes, arrays: Arrays) -> tuple[bytes, int, int]:
    """Returns the corrected file, how many of its layers were corrected, and how many examples gave the means."""
    file, plain = _File(content), _File(float_content)
    layers = _pairs(file, plain)
    if not layers:
        return content, 0, 0
    rows = max(1, min(EXAMPLES, len(next(iter(arrays.values()))), MEMORY // max(1, file.most_alive(layers))))
    few = {name: array[:rows] for name, array in arrays.items()}
    wanted = _float_means(plain, layers.values(), few)
    live, done = {tensor: few[name][:, None] for name, tensor in file.inputs().items()}, 0
    for place, float_place in sorted(layers.items()):
        live = file.advanced(live, done, place)
        inputs, kernel, _ = indices(file.operators[place].inputs)
        mean = file.real(inputs, live[inputs].mean(0, dtype="float64"))
        file.set_bias(place, wanted[float_place] - _product(file, place, mean, file.constant(kernel)))
        done = place
    return packed(file.model), len(layers), rows


def _pairs(file: "_File", plain: "_File") -> dict[int, int]:
    """Returns the layers that can be corrected: the place of the operator in the int8 file, and in the float file.

    Both files hold them in one order; that the int8 kernel is the float one on its grid is checked.
    """
    places, float_places = (
        [k for k, _ in enumerate(each.operators) if each.name(k) in LAYERS] for each in (file, plain)
    )
    if len(places) != len(float_places):
        return {}
    readers = Counter(file.operators[k].inputs[1] for k in places)
    pairs = [
        (k, float_place)
        for k, float_place in zip(places, float_places, strict=True)
        if readers[file.operators[k].inputs[1]] <= SHARED
    ]
    return {k: float_place for k, float_place in pairs if _is_pair(file, plain, k, float_place)}


def _is_pair(file: "_File", plain: "_File", place: int, float_place: int) -> bool:
    tensors, float_tensors = (indices(each.operators[k].inputs) for each, k in ((file, place), (plain, float_place)))
    if (
        len(tensors) < 3
        or len(float_tensors) < 2
        or file.name(place) != plain.name(float_place)
        or not all(map(plain.is_constant, float_tensors[1:3]))
    ):
        return False
    if [file.dtype(k) for k in tensors] != ["int8", "int8", "int32"] or not all(map(file.is_constant, tensors[1:3])):
        return False
    kernel, wanted = file.constant(tensors[1]), plain.constant(float_tensors[1])
    return kernel.shape == wanted.shape and bool((np.abs(kernel - wanted) <= HALF_STEP * file.scale(tensors[1])).all())


def _float_means(plain: "_File", float_places: Iterable[int], arrays: Arrays) -> dict[int, np.ndarray]:
    """Returns for some operators of the float file the mean of each channel before the activation."""
    tensors = {k: indices(plain.operators[k].inputs) for k in float_places}
    inputs_by_name = plain.inputs()
    means = dict.fromkeys({inputs for inputs, *_ in tensors.values()}, np.float32(0))
    run = plain.runner(0, len(plain.operators), list(inputs_by_name.values()), list(means))
    rows = len(next(iter(arrays.values())))
    for row in range(rows):
        for k, value in run({tensor: arrays[name][row : row + 1] for name, tensor in inputs_by_name.items()}).items():
            means[k] = means[k] + value / np.float32(rows)
    return {
        k: _product(plain, k, means[inputs], plain.constant(kernel)) + sum(plain.constant(each) for each in bias)
        for k, (inputs, kernel, *bias) in tensors.items()
    }


def _product(file: "_File", place: int, mean: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the mean over places of an operator's output before bias and activation, (K,), from its mean input."""
    if file.name(place) == "FULLY_CONNECTED":
        return kernel @ mean.reshape(-1, kernel.shape[1]).mean(0)
    options = file.operators[place].builtinOptions
    patch = _mean_patch(mean[0], kernel.shape[1:3], options)  # (kernel H, kernel W, C)
    if file.name(place) == "DEPTHWISE_CONV_2D":
        return (kernel[0] * np.repeat(patch, kernel.shape[3] // patch.shape[2], axis=2)).sum((0, 1))
    groups = patch.shape[2] // kernel.shape[3]
    parts = zip(np.split(kernel, groups), np.split(patch, groups, axis=2), strict=True)
    return np.concatenate([np.tensordot(part, own, 3) for part, own in parts])


def _mean_patch(image: np.ndarray, size: tuple[int, int], options: Any) -> np.ndarray:
    """Returns the mean of all patches (H, W, C) that a kernel of a size meets in an image (H, W, C)."""
    steps = (options.strideH, options.strideW)
    gaps = (options.dilationHFactor, options.dilationWFactor)
    counts, pads = [], []
    for length, step, gap, taps in zip(image.shape, steps, gaps, size, strict=False):
        reach = (taps - 1) * gap + 1
        same = options.padding == schema.Padding.SAME
        counts.append(-(-length // step) if same else (length - reach) // step + 1)
        missing = max(0, (counts[-1] - 1) * step + reach - length)
        pads.append((missing // 2, missing - missing // 2))
    padded = np.pad(image, (*pads, (0, 0)))
    spans = [
        [slice(tap * gap, tap * gap + (count - 1) * step + 1, step) for tap in range(taps)]
        for taps, gap, count, step in zip(size, gaps, counts, steps, strict=True)
    ]
    return np.array([[padded[rows, columns].mean((0, 1)) for columns in spans[1]] for rows in spans[0]])


class _File:
    """A TFLite file whose operations are read, run in parts and given other biases."""

    def __init__(self, content: bytes):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        self.graph = self.model.subgraphs[0]
        if len(self.model.subgraphs) > 1 or any(each.isVariable for each in self.graph.tensors):
            raise ValueError("the file holds branches, loops or states")
        self.operators = self.graph.operators or []
        self._made = dict.fromkeys(self.graph.inputs, -1)
        self._made |= {k: place for place, each in enumerate(self.operators) for k in indices(each.outputs)}
        self._read = {k: place for place, each in enumerate(self.operators) for k in indices(each.inputs)}
        self._read |= dict.fromkeys(self.graph.outputs, len(self.operators))
        self._readers = Counter(k for each in self.operators for k in indices(each.inputs))
        self._holders = Counter(each.buffer for each in self.graph.tensors)

    def name(self, place: int) -> str:
        return operation_name(self.model, self.operators[place])

    def inputs(self) -> dict[str, int]:
        """Returns the tensors of the inputs by name."""
        return {each.name.decode(): each.tensorIndex for each in self.model.signatureDefs[0].inputs}

    def dtype(self, tensor: int) -> str:
        return DTYPES[self.graph.tensors[tensor].type]

    def is_constant(self, tensor: int) -> bool:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def scale(self, tensor: int) -> np.ndarray:
        """Returns the step of a tensor's grid, in a shape that multiplies the tensor: one, or one a channel."""
        each = self.graph.tensors[tensor]
        steps = np.asarray(each.quantization.scale, "float64")
        channels = [1] * len(each.shape)
        channels[each.quantization.quantizedDimension] = len(steps)
        return steps.reshape(channels)

    def real(self, tensor: int, values: np.ndarray) -> np.ndarray:
        """Returns the real numbers that values on an int8 tensor's grid stand for."""
        return (values - self.graph.tensors[tensor].quantization.zeroPoint[0]) * self.scale(tensor)

    def constant(self, tensor: int) -> np.ndarray:
        """Returns the real numbers of a constant; integer ones have their zero at 0."""
        each, dtype = self.graph.tensors[tensor], self.dtype(tensor)
        stored = np.asarray(self.model.buffers[each.buffer].data, np.uint8).view(dtype).reshape(each.shape)
        return stored.astype("float64") * (1.0 if dtype == "float32" else self.scale(tensor))

    def set_bias(self, place: int, values: np.ndarray) -> None:
        """Gives an operator another bias, a copy where others read the same; what its grid cannot hold stays."""
        operator = self.operators[place]
        old = self.graph.tensors[operator.inputs[2]]
        stored = np.asarray(self.model.buffers[old.buffer].data, np.uint8).view("int32")
        steps = np.round(values / self.scale(operator.inputs[2]))
        steps = np.where(np.abs(steps) <= LARGEST, steps, stored).astype("int32")
        changed = schema.BufferT(data=steps.view(np.uint8))
        if self._readers[operator.inputs[2]] == 1 and self._holders[old.buffer] == 1:
            self.model.buffers[old.buffer] = changed
            return
        operator.inputs = np.array([*operator.inputs[:2], len(self.graph.tensors), *operator.inputs[3:]], "int32")
        self.graph.tensors.append(_changed(old, buffer=len(self.model.buffers)))
        self.model.buffers.append(changed)

    def alive(self, place: int) -> list[int]:
        """Returns the tensors made before an operator that it, one behind it or the caller reads."""
        return [k for k, maker in self._made.items() if maker < place <= self._read.get(k, -1)]

    def most_alive(self, places: Iterable[int]) -> int:
        """Returns the bytes of the tensors alive before the operator, of some, at which they are most."""
        return max(
            sum(int(np.prod(self.graph.tensors[k].shape)) * np.dtype(self.dtype(k)).itemsize for k in self.alive(place))
            for place in places
        )

    def advanced(self, live: dict[int, np.ndarray], start: int, stop: int) -> dict[int, np.ndarray]:
        """Runs the operators from `start` to before `stop` on each example.

        Args:
            live: the tensors alive before `start`, each (B, *its shape).
            start: the first operator that runs.
            stop: the first that does not.

        Returns:
            The tensors alive before `stop`.
        """
        if start == stop:
            return live
        alive = self.alive(stop)
        gives = [k for k in alive if k not in live]
        reads = sorted({k for each in self.operators[start:stop] for k in indices(each.inputs)} & set(live))
        run = self.runner(start, stop, reads, gives)
        rows = len(next(iter(live.values())))
        made = {k: np.empty((rows, *self.graph.tensors[k].shape), self.dtype(k)) for k in gives}
        for row in range(rows):
            for k, value in run({k: live[k][row] for k in reads}).items():
                made[k][row] = value
        return {k: made[k] if k in made else live[k] for k in alive}

    def runner(self, start: int, stop: int, reads: list[int], gives: list[int]) -> Callable[[Part], Part]:
        """Returns a function that runs the operators from `start` to before `stop` in LiteRT, from tensors to tensors.

        Raises:
            ValueError: a tensor has not the shape that stands in the file, as where it depends on the data.
        """
        content, numbers = self._part(start, stop, reads, gives)
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()

        def run(values: Part) -> Part:
            for k, value in values.items():
                interpreter.set_tensor(numbers[k], value)
            interpreter.invoke()
            results = {k: interpreter.get_tensor(numbers[k]) for k in gives}
            for k, value in results.items():
                if value.shape != tuple(self.graph.tensors[k].shape):
                    raise ValueError(f"the shape of {self.graph.tensors[k].name.decode()!r} depends on the data")
            return results

        return run

    def _part(self, start: int, stop: int, reads: list[int], gives: list[int]) -> tuple[bytes, dict[int, int]]:
        """Returns some operators as a file of their own, and the numbers that its tensors have in it."""
        operators = self.operators[start:stop]
        tensors = sorted({*reads, *gives, *(k for each in operators for k in indices([*each.inputs, *each.outputs]))})
        numbers = {k: number for number, k in enumerate(tensors)} | {-1: -1}
        part, graph = copy.copy(self.model), copy.copy(self.graph)
        part.subgraphs, part.signatureDefs, part.metadata, part.metadataBuffer = [graph], None, None, None
        part.buffers = [self.model.buffers[0], *(self.model.buffers[self.graph.tensors[k].buffer] for k in tensors)]
        graph.tensors = [_changed(self.graph.tensors[k], buffer=number + 1) for number, k in enumerate(tensors)]
        graph.inputs, graph.outputs = (np.array([numbers[k] for k in ends], "int32") for ends in (reads, gives))
        graph.operators = [
            _changed(
                each,
                inputs=np.array([numbers[k] for k in each.inputs], "int32"),
                outputs=np.array([numbers[k] for k in each.outputs], "int32"),
            )
            for each in operators
        ]
        return packed(part), numbers


def _changed(thing: Any, **values: Any) -> Any:
    """Returns a copy with other values."""
    changed = copy.copy(thing)
    vars(changed).update(values)
    return changed
