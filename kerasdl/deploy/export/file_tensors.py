"""Inputs and outputs of an exported file, and code examples that feed it by name."""

import json
from dataclasses import dataclass

KOTLIN = {  # Kotlin's array class by dtype
    "float32": "FloatArray",
    "int32": "IntArray",
    "int64": "LongArray",
    "int16": "ShortArray",
    "int8": "ByteArray",
    "uint8": "ByteArray",
    "bool": "BooleanArray",
}


@dataclass(frozen=True)
class FileTensor:
    """One input or output of a written file."""

    index: int
    """Its position among the inputs or outputs; TFLite orders them by name, not as the model does."""
    name: str
    """The name in the file's signature."""
    shape: tuple[int | None, ...]
    """Its shape with the batch first, None where a size is free."""
    dtype: str
    """The dtype of its values, such as "float32"."""
    scale: float | None = None
    """The scale of quantised values: value = scale * (integer - zero_point)."""
    zero_point: int | None = None
    """The integer of the real number 0."""


def usage(
    name: str, form: str, inputs: tuple[FileTensor, ...], outputs: tuple[FileTensor, ...], signature: str = ""
) -> list[str]:
    """Returns lines of Markdown: tables of inputs and outputs, and code that feeds the file by name.

    Args:
        name: the name of the file or folder, which the code opens in its working folder.
        form: its format, such as "tflite int8" or "onnx".
        inputs: the inputs of the file.
        outputs: the outputs of the file.
        signature: the signature that the code runs; empty for the usual one of the format.
    """
    open_and_run = {"tflite": _litert, "onnx": _onnxruntime}.get(form.split()[0], _tensorflow)
    python = ["import numpy as np", *open_and_run(name, inputs, signature)]
    lines = ["### Inputs", "", *_table(inputs), "", "### Outputs", "", *_table(outputs), ""]
    lines += ["### Fed by name in Python", "", "```python", *python, "```"]
    if open_and_run is _litert:
        lines += ["", "### Fed by name in Kotlin", "", "```kotlin", *_kotlin(name, inputs, outputs, signature), "```"]
    return lines


def _table(tensors: tuple[FileTensor, ...]) -> list[str]:
    rows = ["| index | name | shape | dtype | value |", "|---|---|---|---|---|"]
    return rows + [
        f"| {each.index} | `{each.name}` | {_shape(each)} | {each.dtype} | {_meaning(each)} |" for each in tensors
    ]


def _shape(tensor: FileTensor) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in tensor.shape)})"


def _meaning(tensor: FileTensor) -> str:
    return f"{tensor.scale:.9g} * (integer - {tensor.zero_point})" if tensor.scale else "as it is"


def _litert(name: str, inputs: tuple[FileTensor, ...], signature: str) -> list[str]:
    return [
        "from ai_edge_litert.interpreter import Interpreter",
        "",
        *_arrays(inputs),
        f'runner = Interpreter(model_path={_quoted(name)}).get_signature_runner("{signature or "serve"}")',
        "outputs = runner(**inputs)  # arrays by name",
    ]


def _onnxruntime(name: str, inputs: tuple[FileTensor, ...], signature: str) -> list[str]:
    return [
        "import onnxruntime",
        "",
        *_arrays(inputs),
        f"session = onnxruntime.InferenceSession({_quoted(name)})",
        "names = [output.name for output in session.get_outputs()]",
        "outputs = dict(zip(names, session.run(names, inputs)))",
    ]


def _tensorflow(name: str, inputs: tuple[FileTensor, ...], signature: str) -> list[str]:
    return [
        "import tensorflow as tf",
        "",
        *_arrays(inputs),
        f'serve = tf.saved_model.load({_quoted(name)}).signatures["{signature or "serving_default"}"]',
        "outputs = serve(**{name: tf.constant(array) for name, array in inputs.items()})",
    ]


def _arrays(inputs: tuple[FileTensor, ...]) -> list[str]:
    return ["inputs = {  # zeros in the place of your arrays", *(f"    {_array(each)}," for each in inputs), "}"]


def _array(tensor: FileTensor) -> str:
    shape = tuple(size or 1 for size in tensor.shape)
    if tensor.dtype == "string":
        return f'"{tensor.name}": np.full({shape}, "text", object)'
    if not tensor.scale:
        return f'"{tensor.name}": np.zeros({shape}, "{tensor.dtype}")'
    bounds = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}[tensor.dtype]
    integers = f"np.round(np.zeros({shape}) / {tensor.scale!r}) + {tensor.zero_point}"
    return f'"{tensor.name}": np.clip({integers}, {bounds[0]}, {bounds[1]}).astype("{tensor.dtype}")'


def _kotlin(name: str, inputs: tuple[FileTensor, ...], outputs: tuple[FileTensor, ...], signature: str) -> list[str]:
    path = _quoted(name).replace("$", r"\$")  # Kotlin fills in what follows a dollar sign
    scales = [f"// {each.name}: value = {_meaning(each)}" for each in (*inputs, *outputs) if each.scale]
    return [
        f"val interpreter = Interpreter(FileUtil.loadMappedFile(context, {path}))",
        *scales,
        "val inputs = mapOf<String, Any>(",
        *(f'    "{each.name}" to {_nested(each)},' for each in inputs),
        ")",
        "val outputs = mutableMapOf<String, Any>(",
        *(f'    "{each.name}" to {_nested(each)},' for each in outputs),
        ")",
        f'interpreter.runSignature(inputs, outputs, "{signature or "serve"}")',
    ]


def _quoted(text: str) -> str:
    """Returns a text as a literal of Python; the escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _nested(tensor: FileTensor) -> str:
    sizes = [str(size or 1) for size in tensor.shape] or ["1"]
    row = f"{KOTLIN.get(tensor.dtype, 'ByteArray')}({sizes[-1]})"
    for size in reversed(sizes[:-1]):
        row = f"Array({size}) {{ {row} }}"
    return row
