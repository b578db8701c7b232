"""Operations of a TFLite file that a GPU delegate leaves to the CPU, by TensorFlow's own checker of such files."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import tensorflow as tf

from ...export.tracing import silenced


def gpu_fallback(path: Path) -> tuple[str, ...]:
    """Returns the names of operations that TFLite's GPU delegate does not take in this file, sorted.

    The checker, `tf.lite.experimental.Analyzer`, has the rules of the delegate that was built with this TensorFlow.
    """
    text = io.StringIO()
    with silenced(), redirect_stdout(text):
        tf.lite.experimental.Analyzer.analyze(model_path=str(path), gpu_compatibility=True)
    return tuple(sorted(set(re.findall(r"Op#\d+ (\w+)\(.*\nGPU COMPATIBILITY WARNING", text.getvalue()))))
