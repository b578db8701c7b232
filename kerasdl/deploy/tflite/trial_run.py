"""Trial run of a TFLite file in a child process, for operations whose kernels can end the process that runs them.

LiteRT 2.1 frees RFFT2D's memory twice in some quantised graphs, such as a MelSpectrogram behind a sparsemax.
"""

import tempfile
from pathlib import Path

from kerasdl.core.child_process import child_process

from .flatbuffer import operators

FRAGILE = ("RFFT2D",)


def check_runs(content: bytes) -> None:
    """Raises where a file that holds such an operation ends the process that runs it.

    Args:
        content: the TFLite file.

    Raises:
        RuntimeError: the child process ended; the text names the operation as LiteRT's own errors do.
    """
    fragile = {operator.name for operator in operators(content)} & {*FRAGILE}
    if not fragile:
        return
    with tempfile.TemporaryDirectory() as folder, child_process(__name__) as child:
        path = Path(folder, "trial.tflite")
        path.write_bytes(content)
        if child.ask(path) is None:
            raise RuntimeError(f"Node ({fragile.pop()}) failed: LiteRT ended its process.")


def main() -> None:
    """Runs the file named on standard input once, on zeros, and prints `true`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=input())
    interpreter.allocate_tensors()
    interpreter.invoke()
    print("true", flush=True)


if __name__ == "__main__":
    main()
