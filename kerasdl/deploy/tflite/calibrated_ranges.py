"""Calibrated ranges that end a process in TensorFlow's quantiser or LiteRT's integer kernels, mended beforehand.

An infinite range is a segmentation fault of the quantiser; that of a unit which gave nothing but zeros has a step so
small that the factor between two grids overflows, and the kernel writes beyond its memory.
"""

from ai_edge_litert import schema_py_generated as schema

LARGEST = 1e30
SMALLEST = 1e-30  # what has never been larger was zero
UNIT = 1.0  # the range of zeros made of zeros: zero stands on its grid, and what comes later is cut off there
LEAST_SHARE = 1e-6  # of an operation's largest input: what it gives is lost below, and the factor overflows


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
