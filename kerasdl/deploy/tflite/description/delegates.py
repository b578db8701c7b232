"""Operations of a TFLite file that the delegates of GPU and Core ML never take, by the names in their source.

TensorFlow's own checker, `tf.lite.experimental.Analyzer`, calls every file compatible since release 2.19
(https://github.com/tensorflow/tensorflow/issues/77042). The names are those that gpu_compatibility.cc in
tensorflow/lite/tools/versioning accepted in some form; its conditions on shapes and dtypes are not checked here. The
delegate of Core ML, which leads to Apple's Neural Engine, lists its names in
tensorflow/lite/delegates/coreml/coreml_delegate.mm and takes float operations alone; its conditions on shapes, versions
and constants are not checked here either. NNAPI is retired, and the compiler of the Edge TPU alone says what it maps.
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
CORE_ML_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D MEAN
MIRROR_PAD MUL PAD PADV2 RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR SOFTMAX TANH TRANSPOSE_CONV
"""
TAKEN_BY_CORE_ML = frozenset((*CORE_ML_NAMES.split(), "DEQUANTIZE"))  # DEQUANTIZE reads the weights of float16 files


def gpu_fallback(path: Path) -> tuple[str, ...]:
    """Returns the names of operations that a GPU delegate never takes in this file, of any signature, sorted."""
    return tuple(sorted(set(flatbuffer.count_operations(path)) - TAKEN))


def core_ml_fallback(path: Path) -> tuple[str, ...]:
    """Returns the names of operations that Core ML's delegate never takes in this file, in integers none, sorted."""
    left = {
        each.name
        for each in flatbuffer.operators(path.read_bytes())
        if not each.is_float or each.name not in TAKEN_BY_CORE_ML
    }
    return tuple(sorted(left))


def fallbacks(path: Path) -> dict[str, tuple[str, ...]]:
    """Returns the fields of a report on a TFLite file that name what delegates leave to the CPU."""
    return {"gpu_fallback": gpu_fallback(path), "core_ml_fallback": core_ml_fallback(path)}


def with_fallbacks(report: ExportReport) -> ExportReport:
    """Returns the report of a TFLite file with the operations that delegates leave to the CPU."""
    return dataclasses.replace(report, **fallbacks(Path(report.path)))
