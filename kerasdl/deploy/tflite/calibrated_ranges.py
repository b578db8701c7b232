"""Calibrated ranges that end a process in TensorFlow's quantiser or LiteRT's integer kernels, mended beforehand.

An infinite range is a segmentation fault of the quantiser; that of a unit which gave nothing but zeros has a step so
small that the factor between two grids overflows, and the kernel writes beyond its memory. Ranges that cut off what
another branch reads are widened.
"""

from collections import Counter
from collections.abc import Iterable

from ai_edge_litert import schema_py_generated as schema

from .flatbuffer import OPERATION_NAMES

LARGEST = 1e30
SMALLEST = 1e-30  # what has never been larger was zero
UNIT = 1.0  # the range of zeros made of zeros: zero stands on its grid, and what comes later is cut off there
LEAST_SHARE = 1e-6  # of an operation's largest input: what it gives is lost below, and the factor overflows
# One grid holds what these read and what they give; all that they read, but for sizes and positions.
ONE_GRID = {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN"}
ONE_GRID |= {"MINIMUM", "MAXIMUM", "CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE"}
ONE_GRID |= {"GATHER", "GATHER_ND", "TOPK_V2", "PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
ONE_GRID |= {"TRANSPOSE", "TILE", "BROADCAST_TO", "SELECT", "SELECT_V2"}
ONE_GRID |= {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"}
LOWEST_SHARED = -9e3  # a range that reaches below is that of masked scores
MEANS = {"AVERAGE_POOL_2D", "RESIZE_BILINEAR"}

Range = tuple[float, float]


def mend_ranges(model: schema.ModelT) -> tuple[set[str], bool]:
    """Mends the ranges of a calibrated model; returns the tensors that must stay in float, and if any range changed."""
    nodes, changed = set(), False
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            reads, gives = ([graph.tensors[k] for k in _indices(part)] for part in (operator.inputs, operator.outputs))
            if _is_beyond_grids(reads, gives):
                nodes.update(tensor.name.decode() for tensor in gives)
            for tensor in gives:
                if (most := _most(tensor)) is not None and most <= SMALLEST:
                    _set_range(tensor, *_widest(reads))  # some operations share one grid with what they read
                    changed = True
        for tensor in graph.tensors:
            most = _most(tensor)
            if most is not None and (most > LARGEST or most <= SMALLEST):
                _set_range(tensor, *((-LARGEST, LARGEST) if most > LARGEST else (0.0, UNIT)))
                changed = True
    return nodes, changed


def widen_shared_grids(model: schema.ModelT) -> bool:
    """Widens the ranges of what shares a grid with its input to that input's, where something else needs all of it.

    TensorFlow's quantiser gives a whole chain of such operations the range of its end: a clip, or the maxima and means
    that are joined, cut off what another branch reads of their common input. Returns whether any range changed.
    """
    changed = False
    for graph in model.subgraphs:
        reads = [[k for k in _indices(each.inputs) if k < len(graph.tensors)] for each in graph.operators or []]
        readers = Counter(k for each in reads for k in set(each)) + Counter(_indices(graph.outputs))
        names = [_name(model, each) for each in graph.operators or []]
        averaged = {k for name, each in zip(names, reads, strict=True) if name in MEANS for k in each}
        whole = {k for k in range(len(graph.tensors)) if readers[k] > 1 or k in averaged}
        needed: dict[int, Range] = {}
        for name, operator, inputs in zip(names, graph.operators or [], reads, strict=True):
            for k in inputs:  # an input of the graph has no operation of its own
                if k in whole and k not in needed and (bounds := _bounds(graph.tensors[k])):
                    needed[k] = bounds
            if name not in ONE_GRID:
                continue
            joined = _union(needed[k] for k in inputs if k in needed)
            for k in _indices(operator.outputs):
                bounds = _bounds(graph.tensors[k])
                if joined is None or bounds is None:
                    continue
                wide = needed[k] = _union([joined, bounds])
                if wide != bounds:
                    _set_range(graph.tensors[k], *wide)
                    changed = True
    return changed


def _name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATION_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _union(ranges: Iterable[Range]) -> Range | None:
    known = list(ranges)
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _bounds(tensor: schema.TensorT) -> Range | None:
    """Returns the range that calibration has seen, if it is one that a grid can hold."""
    most = _most(tensor)
    if most is None or not SMALLEST < most <= LARGEST:
        return None
    low, high = float(min(tensor.quantization.min)), float(max(tensor.quantization.max))
    return (low, high) if low > LOWEST_SHARED else None


def _is_beyond_grids(reads: list[schema.TensorT], gives: list[schema.TensorT]) -> bool:
    sizes = [[size for tensor in part if (size := _most(tensor)) is not None] for part in (reads, gives)]
    if max(sizes[0] + sizes[1], default=0.0) > LARGEST:
        return True
    made = [size for size in sizes[1] if size > SMALLEST]
    return bool(made) and max(made) < LEAST_SHARE * max(sizes[0], default=0.0)


def _widest(tensors: list[schema.TensorT]) -> tuple[float, float]:
    """Returns the range of the tensor that has reached furthest, with zero in it."""
    known = [(most, tensor) for tensor in tensors if (most := _most(tensor)) is not None and most <= LARGEST]
    if not known or max(most for most, _ in known) <= SMALLEST:
        return 0.0, UNIT
    quantization = max(known, key=lambda pair: pair[0])[1].quantization
    return min(0.0, *map(float, quantization.min)), max(0.0, *map(float, quantization.max))


def _set_range(tensor: schema.TensorT, low: float, high: float) -> None:
    tensor.quantization.min, tensor.quantization.max = [low], [high]


def _most(tensor: schema.TensorT) -> float | None:
    """Returns the largest absolute value that calibration has seen; infinity where that is no number."""
    quantization = tensor.quantization
    if quantization is None or quantization.min is None or not len(quantization.min):
        return None
    ends = [abs(float(end)) for end in (*quantization.min, *quantization.max)]
    return max(end if end == end else float("inf") for end in ends)


def _indices(of_tensors: object) -> list[int]:
    return [] if of_tensors is None else [index for index in of_tensors if index >= 0]
