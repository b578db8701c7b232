"""Trial run of a TFLite file in a child process, since kernels of integers can end the process that runs them.

LiteRT 2.1 frees memory of RFFT2D twice in some graphs, and its SQUARED_DIFFERENCE aborts where its inputs are large
beside their difference.
"""

import atexit
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from kerasdl.core.child_process import ChildProcess, child_process

from .flatbuffer import operation_name, packed

WORKER = "kerasdl.deploy.tflite.trial_worker"
LATE = ("RFFT2D",)  # operations after which a later one ends the process

_child: dict[int, ChildProcess] = {}  # by the process that started it: one that is forked does not share it
_open = ExitStack()
atexit.register(_open.close)


def check_runs(content: bytes) -> None:
    """Raises where a file ends the process that runs it.

    The child process stays for the next file, until this process ends.

    Args:
        content: the TFLite file.

    Raises:
        RuntimeError: the child process ended; the text names the operation as LiteRT's own errors do.
    """
    if _runs(content) or _runs(content):  # another may have ended the first child
        return
    operators = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content)).subgraphs[0].operators
    works, ends = 0, len(operators)  # numbers of operations with which the file runs, and with which it does not
    while ends - works > 1:
        middle = (works + ends) // 2
        works, ends = (middle, ends) if _runs(_beginning(content, middle)) else (works, middle)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    names = [operation_name(model, operator) for operator in operators[:ends]]
    name = next((name for name in LATE if name in names), names[-1])
    raise RuntimeError(f"Node ({name}) failed: LiteRT ends the process over it.")


def _runs(content: bytes) -> bool:
    own = os.getpid()
    if own not in _child:
        _child[own] = _open.enter_context(child_process(WORKER))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trial.tflite")
        path.write_bytes(content)
        if _child[own].ask(path) is not None:
            return True
    del _child[own]
    return False


def _beginning(content: bytes, count: int) -> bytes:
    """Returns a file of the first operations alone, which gives what the last of them gives."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:count]
    graph.outputs = graph.operators[-1].outputs
    model.signatureDefs = []
    return packed(model)
