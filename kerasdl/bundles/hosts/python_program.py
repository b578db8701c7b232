"""Python program that runs an exported classifier, detector or segmenter by its runtime, NumPy and Pillow."""

from string import Template
from typing import Any

from .host_file import HostFile, Slot

START = '''\
"""$purpose by the exported file of this name: `python PROGRAM photo.jpg ...`.

Needs $package, numpy, and pillow to read images.
"""

import sys
from pathlib import Path

import numpy as np
$import_line
from PIL import Image, ImageOps

FILE = Path(__file__).with_name($name)
LABELS = $labels
HEIGHT, WIDTH = $height, $width
MULTIPLY, ADD = np.array($multiply, "float32"), np.array($add, "float32")$threshold
$opened


def upright(path):
    """Returns an image as $colour, turned upright."""
    with Image.open(path) as photo:
        image = ImageOps.exif_transpose(photo)
        if image.mode[0] in "IF":
            raise SystemExit(f"{path}: an image must have 8 bits a channel; got the mode {image.mode}.")
        if image.mode == "PA" or "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert("RGB")$grey


def model_input(image):
    """Returns the input of the file for an image: bilinear and antialiased pixels (HEIGHT, WIDTH, $channels)."""
$resize_lines
    value = np.asarray(image).reshape(HEIGHT, WIDTH, $channels) * MULTIPLY + ADD
$input_lines
'''
LABELLING = '''

def scores(path):
    """Returns the score of each label for an image."""
$run_lines
$output_lines


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(f"images must be named: python {sys.argv[0]} photo.jpg ...")
    for name in sys.argv[1:]:
        try:
            of_labels = scores(name)
        except OSError as error:
            raise SystemExit(f"cannot read the image {name}: {error}") from error
        best = int(of_labels.argmax())
        label = $label
        print(f"{name}\\t{label}\\t{of_labels[best]:.4f}")
'''
DETECTING = '''

def objects($arguments):
    """Returns label, score and [left, top, right, bottom] in pixels of the photo of each object, likeliest first."""
    image = upright(path)
$run_lines
    count = int(np.sum(found["scores"][0][: int(found["count"][0])] >= $least))
    classes, values = found["classes"][0][:count], found["scores"][0][:count]
$box_lines
    return [(LABELS[int(each)], float(score), box) for each, score, box in zip(classes, values, boxes, strict=True)]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(f"images must be named: python {sys.argv[0]} photo.jpg ...")
    for name in sys.argv[1:]:
        try:
            found = objects(name)
        except OSError as error:
            raise SystemExit(f"cannot read the image {name}: {error}") from error
        for label, score, box in found:
            print(f"{name}\\t{label}\\t{score:.4f}\\t{' '.join(f'{edge:.1f}' for edge in box)}")
        if not found:
            print(f"{name}\\tnothing found")
'''
SEGMENTING = '''

def classes(path):
    """Returns the class of each pixel of a photo (H, W), its place in LABELS."""
    image = upright(path)
$run_lines
    of_pixels = Image.fromarray(found["classes"][0].astype("$whole"))
    return np.asarray(of_pixels.resize(image.size, Image.Resampling.NEAREST))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(f"images must be named: python {sys.argv[0]} photo.jpg ...")
    stems = [Path(name).stem for name in sys.argv[1:]]
    if len({*stems}) < len(stems):
        raise SystemExit(f"images must have unlike names, since each is answered by NAME_classes.png; got {stems}")
    for name in sys.argv[1:]:
        try:
            of_pixels = classes(name)
        except OSError as error:
            raise SystemExit(f"cannot read the image {name}: {error}") from error
        counts = np.bincount(of_pixels.ravel(), minlength=len(LABELS))
        for each in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]:
            print(f"{name}\\t{LABELS[each]}\\t{counts[each] / of_pixels.size:.4f}")
        Image.fromarray(of_pixels).save(f"{Path(name).stem}_classes.png")
'''

STRETCHED = """\
    image = image.resize((WIDTH, image.height), Image.Resampling.BILINEAR)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)"""
BOXED = """\
    left, top, width, height = inset(image)
    image = image.resize((width, image.height), Image.Resampling.BILINEAR)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    letterbox = Image.new(image.mode, (WIDTH, HEIGHT), ({border},) * len(image.getbands()))
    letterbox.paste(image, (left, top))
    image = letterbox"""
INSET = '''


def inset(image):
    """Returns left edge, top edge, width and height of an image in the letterbox (HEIGHT, WIDTH)."""
    width, height = image.size
    if WIDTH * height <= HEIGHT * width:
        size = WIDTH, max((2 * height * WIDTH + width) // (2 * width), 1)
    else:
        size = max((2 * width * HEIGHT + height) // (2 * height), 1), HEIGHT
    return (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2, *size'''
BOXES = """\
    scale = np.array([image.width / WIDTH, image.height / HEIGHT] * 2)
    boxes = (found["boxes"][0][:count] * scale).tolist()"""
BOXES_INSIDE = """\
    left, top, width, height = inset(image)
    edges = (found["boxes"][0][:count] - [left, top] * 2) * ([image.width / width, image.height / height] * 2)
    boxes = np.clip(edges, 0, [image.width, image.height] * 2).tolist()"""
INTEGERS = """\
    value = np.round(value / {scale!r}) + {zero_point}
    return np.clip(value, {low}, {high}).astype("{dtype}")[None]"""
LITERT = """\
    outputs = RUNNER(**{{{input!r}: model_input(upright(path))}})
    value = outputs[{output!r}][0]"""
ONNX = """\
    (value,) = SESSION.run([{output!r}], {{{input!r}: model_input(upright(path))}})
    value = value[0]"""
OBJECTS = {
    False: "    found = RUNNER(**{inputs})",
    True: """\
    names = [each.name for each in SESSION.get_outputs()]
    found = dict(zip(names, SESSION.run(names, {inputs}), strict=True))""",
}
THRESHOLDS = """\
    thresholds = {"min_score": np.array([min_score], "float32"), "overlap": np.array([overlap], "float32")}
"""
ACTIVATIONS = {
    "softmax": "    value = np.exp(value - value.max())\n    return value / value.sum()",
    "sigmoid": "    return 1 / (1 + np.exp(-value))",
    None: "    return value",
}
OPENED = {
    False: 'RUNNER = Interpreter(model_path=str(FILE)).get_signature_runner("serve")',
    True: "SESSION = onnxruntime.InferenceSession(FILE)",
}


def python_program(file: HostFile) -> str:
    """Returns the source of the program for a .tflite or .onnx file."""
    if file.gives_pixels:
        return _segmenting(file)
    if file.output is None:
        return _detecting(file)
    run = (ONNX if _is_onnx(file) else LITERT).format(input=file.input.name, output=file.output.name)
    output_lines = ACTIVATIONS[file.activation]
    if file.temperature != 1:
        output_lines = f"    value = value / {file.temperature!r}\n{output_lines}"
    knows_none = file.threshold is not None
    if file.output.scale:
        real = f"{file.output.scale!r} * (value.astype('float32') - {file.output.zero_point})"
        output_lines = f"    value = {real}\n{output_lines}"
    return Template(START + LABELLING).substitute(
        _start(file),
        purpose="Labels of images",
        run_lines=run,
        output_lines=output_lines,
        threshold=f"\nTHRESHOLD = {file.threshold!r}" if knows_none else "",
        label='LABELS[best] if of_labels[best] >= THRESHOLD else "none of these"' if knows_none else "LABELS[best]",
    )


def _detecting(file: HostFile) -> str:
    """Returns the source of the program for a file that gives objects."""
    takes, asks = f"{{{file.input.name!r}: model_input(image)}}", file.overlap is not None
    run = OBJECTS[_is_onnx(file)].format(inputs=f"{takes[:-1]}, **thresholds}}" if asks else takes)
    run = THRESHOLDS + run if asks else run
    settings = {"purpose": "Objects in images", "threshold": f"\nMIN_SCORE = {file.threshold!r}"}
    settings["threshold"] += f"\nOVERLAP = {file.overlap!r}" if asks else ""
    settings["arguments"] = "path, min_score=MIN_SCORE, overlap=OVERLAP" if asks else "path"
    settings["least"] = "min_score" if asks else "MIN_SCORE"
    settings["box_lines"] = BOXES if file.border is None else BOXES_INSIDE
    return Template(START + DETECTING).substitute(_start(file), run_lines=run, **settings)


def _segmenting(file: HostFile) -> str:
    """Returns the source of the program for a file that gives the class of each pixel."""
    run = OBJECTS[_is_onnx(file)].format(inputs=f"{{{file.input.name!r}: model_input(image)}}")
    settings = {"purpose": "Classes of the pixels of images", "threshold": "", "run_lines": run}
    whole = "uint8" if len(file.labels) <= 256 else "uint16"
    return Template(START + SEGMENTING).substitute(_start(file), whole=whole, **settings)


def _is_onnx(file: HostFile) -> bool:
    return file.name.endswith(".onnx")


def _start(file: HostFile) -> dict[str, Any]:
    """Returns what stands in the first lines of every program."""
    is_onnx = _is_onnx(file)
    return dict(
        name=repr(file.name),
        package="onnxruntime" if is_onnx else "ai-edge-litert",
        import_line="import onnxruntime" if is_onnx else "from ai_edge_litert.interpreter import Interpreter",
        opened=OPENED[is_onnx],
        labels="[\n" + "".join(f"    {label!r},\n" for label in file.labels) + "]",
        height=file.height,
        width=file.width,
        channels=file.channels,
        colour="RGB" if file.channels == 3 else "grey",
        grey="" if file.channels == 3 else '.convert("L")',
        multiply=list(file.multiply),
        add=list(file.add),
        input_lines=_input_lines(file.input) + ("" if file.border is None else INSET),
        resize_lines=STRETCHED if file.border is None else BOXED.format(border=file.border),
    )


def _input_lines(slot: Slot) -> str:
    if not slot.scale:
        return f'    return value.astype("{slot.dtype}")[None]'
    low, high = slot.bounds
    return INTEGERS.format(scale=slot.scale, zero_point=slot.zero_point, dtype=slot.dtype, low=low, high=high)
