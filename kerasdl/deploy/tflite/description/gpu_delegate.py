"""Operations of a TFLite file that no GPU delegate takes, by the names in the source of TensorFlow's delegate.

TensorFlow's own checker, `tf.lite.experimental.Analyzer`, calls every file compatible since release 2.19
(https://github.com/tensorflow/tensorflow/issues/77042). The names are those that gpu_compatibility.cc in
tensorflow/lite/tools/versioning accepted in some form; its conditions on shapes and dtypes are not checked here.
"""

import dataclasses
from pathlib import Path

from ...export.parity import ExportReport
from .. import flatbuffer

NAMES = """
ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM DENSIFY
DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV
FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND
LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU
QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV
"""
TAKEN = frozenset(NAMES.split())


def gpu_fallback(path: Path) -> tuple[str, ...]:
    """Returns the names of operations that a GPU delegate never takes in this file, of any signature, sorted."""
    return tuple(sorted(set(flatbuffer.count_operations(path)) - TAKEN))


def with_gpu_fallback(report: ExportReport) -> ExportReport:
    """Returns the report of a TFLite file with the operations that a GPU delegate leaves to the CPU."""
    return dataclasses.replace(report, gpu_fallback=gpu_fallback(Path(report.path)))
