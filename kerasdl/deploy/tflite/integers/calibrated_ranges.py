"""Repair of calibrated ranges on which TensorFlow's quantiser or LiteRT's integer kernels end the process.

On an infinite range the quantiser has a segmentation fault. The range of a unit whose outputs were all zero has so
small a step that the factor between two grids overflows, and the kernel writes beyond its memory. Ranges that cut off
values which another branch reads are widened.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..flatbuffer import indices, operation_name

LARGEST = 1e30
SMALLEST = 1e-30  # a tensor that was never larger counts as zero
UNIT = 1.0  # the end of the range of a tensor of zeros; later values are cut off there
LEAST_SHARE = 1e-6  # of an operation's largest input; smaller outputs are lost, and the factor overflows
# Operations whose inputs (but for sizes and positions) and outputs share one grid.
ONE_GRID = {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN"}
ONE_GRID |= {"MINIMUM", "MAXIMUM", "CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE"}
ONE_GRID |= {"GATHER", "GATHER_ND", "TOPK_V2", "PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
ONE_GRID |= {"TRANSPOSE", "TILE", "BROADCAST_TO", "SELECT", "SELECT_V2"}
ONE_GRID |= {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"}
LOWEST_SHARED = -9e3  # a range that reaches lower is that of masked scores
MEANS = {"AVERAGE_POOL_2D", "RESIZE_BILINEAR"}

Range = tuple[float, float]


def repair_ranges(model: schema.ModelT) -> tuple[set[str], bool]:
    """Repairs the ranges of a calibrated model; returns the tensors that must stay in float, and if a range changed."""
    nodes, changed = set(), False
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            reads, writes = ([graph.tensors[k] for k in indices(part)] for part in (operator.inputs, operator.outputs))
            if _is_beyond_grids(reads, writes):
                nodes.update(tensor.name.decode() for tensor in writes)
            for tensor in writes:
                if (largest := _largest_magnitude(tensor)) is not None and largest <= SMALLEST:
                    _set_range(tensor, *_widest(reads))  # some operations share one grid with what they read
                    changed = True
        for tensor in graph.tensors:
            largest = _largest_magnitude(tensor)
            if largest is not None and (largest > LARGEST or largest <= SMALLEST):
                _set_range(tensor, *((-LARGEST, LARGEST) if largest > LARGEST else (0.0, UNIT)))
                changed = True
    return nodes, changed


def widen_shared_grids(model: schema.ModelT) -> bool:
    """Widens the ranges of operations that share a grid with their inputs, where another operation reads these too.

    TensorFlow's quantiser gives a whole chain of such operations the range of its last output: a clip, or joined
    maxima and means, would cut off values of a common input that another branch reads.
    A table would get the range of the rows that calibration looked up, and other rows would be cut off: the range of
    the whole table is taken, which is then the same in every file that holds it. Returns whether a range changed.
    """
    changed = False
    for graph in model.subgraphs:
        reads = [[k for k in indices(each.inputs) if k < len(graph.tensors)] for each in graph.operators or []]
        readers = Counter(k for each in reads for k in set(each)) + Counter(indices(graph.outputs))
        names = [operation_name(model, each) for each in graph.operators or []]
        averaged = {k for name, each in zip(names, reads, strict=True) if name in MEANS for k in each}
        needed_in_full = {k for k in range(len(graph.tensors)) if readers[k] > 1 or k in averaged}
        needed: dict[int, Range] = {}
        for name, operator, inputs in zip(names, graph.operators or [], reads, strict=True):
            for k in inputs:  # an input of the graph has no operation of its own
                if k in needed_in_full and k not in needed and (bounds := _usable_range(graph.tensors[k])):
                    needed[k] = bounds
            if name not in ONE_GRID:
                continue
            if name == "GATHER" and (bounds := _range_of_constant(model, graph.tensors[inputs[0]])):
                needed[inputs[0]] = bounds
            joined = _union(needed[k] for k in inputs if k in needed)
            for k in indices(operator.outputs):
                bounds = _usable_range(graph.tensors[k])
                if joined is None or bounds is None:
                    continue
                wide = needed[k] = _union([joined, bounds])
                if wide != bounds:
                    _set_range(graph.tensors[k], *wide)
                    changed = True
    return changed


def _union(ranges: Iterable[Range]) -> Range | None:
    known = list(ranges)
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _usable_range(tensor: schema.TensorT) -> Range | None:
    """Returns the calibrated range of a tensor, or None where no grid can hold it."""
    largest = _largest_magnitude(tensor)
    if largest is None or not SMALLEST < largest <= LARGEST:
        return None
    low, high = float(min(tensor.quantization.min)), float(max(tensor.quantization.max))
    return (low, high) if low > LOWEST_SHARED else None


def _range_of_constant(model: schema.ModelT, tensor: schema.TensorT) -> Range | None:
    """Returns the range of a constant of floats, if it is one that a grid can hold; None for other tensors."""
    data = model.buffers[tensor.buffer].data if tensor.type == schema.TensorType.FLOAT32 else None
    if data is None or not len(data):
        return None
    values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)
    low, high = float(values.min()), float(values.max())
    return (low, high) if low > LOWEST_SHARED and SMALLEST < max(abs(low), abs(high)) <= LARGEST else None


def _is_beyond_grids(reads: list[schema.TensorT], writes: list[schema.TensorT]) -> bool:
    sizes = [[size for tensor in part if (size := _largest_magnitude(tensor)) is not None] for part in (reads, writes)]
    if max(sizes[0] + sizes[1], default=0.0) > LARGEST:
        return True
    nonzero = [size for size in sizes[1] if size > SMALLEST]
    return bool(nonzero) and max(nonzero) < LEAST_SHARE * max(sizes[0], default=0.0)


def _widest(tensors: list[schema.TensorT]) -> tuple[float, float]:
    """Returns the range of the tensor with the largest magnitude, with zero in it."""
    known = [
        (largest, tensor)
        for tensor in tensors
        if (largest := _largest_magnitude(tensor)) is not None and largest <= LARGEST
    ]
    if not known or max(largest for largest, _ in known) <= SMALLEST:
        return 0.0, UNIT
    quantization = max(known, key=lambda pair: pair[0])[1].quantization
    return min(0.0, *map(float, quantization.min)), max(0.0, *map(float, quantization.max))


def _set_range(tensor: schema.TensorT, low: float, high: float) -> None:
    tensor.quantization.min, tensor.quantization.max = [low], [high]


def _largest_magnitude(tensor: schema.TensorT) -> float | None:
    """Returns the largest absolute value of a tensor in calibration; infinity where that is NaN."""
    quantization = tensor.quantization
    if quantization is None or quantization.min is None or not len(quantization.min):
        return None
    magnitudes = [abs(float(end)) for end in (*quantization.min, *quantization.max)]
    return max(end if end == end else float("inf") for end in magnitudes)
