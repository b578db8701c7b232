"""Swift class that runs an exported classifier or detector of images in an iOS app, with TensorFlowLiteSwift."""

import json
from string import Template

from .host_file import HostFile

TEMPLATE = Template("""\
// $purpose by an exported file. Add the file and its .labels.txt to the app's target, and the package
// TensorFlowLiteSwift. Written for Swift 5; not compiled where this file was made.
import TensorFlowLite
import UIKit

final class $class_name {
$record
    private let height = $height, width = $width, channels = $channels
    private let multiply: [Float] = [$multiply], add: [Float] = [$add]
    private let labels: [String]
    private let interpreter: Interpreter

    init() throws {
        let file = Bundle.main.path(forResource: $file, ofType: nil)!
        let names = try String(contentsOfFile: Bundle.main.path(forResource: $labels, ofType: nil)!, encoding: .utf8)
        labels = names.split(separator: "\\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        interpreter = try Interpreter(modelPath: file)
        try interpreter.allocateTensors()
    }

$answers
    /// Returns what the file takes: $colour pixels of $height x $width (height x width), row by row.
    func input(_ photo: UIImage) -> Data {
        var numbers = [$input_type]()
        for (place, level) in resized(upright(photo)).enumerated() {
            let value = Float(level) * multiply[place % channels] + add[place % channels]
            numbers.append($write)
        }
        return numbers.withUnsafeBufferPointer { Data(buffer: $$0) }
    }

    /// Returns the pixels of a photo, turned upright.
    private func upright(_ photo: UIImage) -> CGImage {
        let format = UIGraphicsImageRendererFormat()
        format.scale = 1
        let size = CGSize(width: photo.size.width * photo.scale, height: photo.size.height * photo.scale)
        return UIGraphicsImageRenderer(size: size, format: format).image { _ in
            photo.draw(in: CGRect(origin: .zero, size: size))
        }.cgImage!
    }

    /// Returns the levels of an upright photo, resized by the bilinear filter, antialiased: columns first, then rows.
    private func resized(_ upright: CGImage) -> [Int] {
        let rows = upright.height, columns = upright.width
        var pixels = [UInt8](repeating: 0, count: rows * columns * 4)
        let context = CGContext(
            data: &pixels, width: columns, height: rows, bitsPerComponent: 8, bytesPerRow: columns * 4,
            space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
        context.draw(upright, in: CGRect(x: 0, y: 0, width: columns, height: rows))
        var levels = [Int]()
        for place in 0..<rows * columns {
            let red = Int(pixels[4 * place]), green = Int(pixels[4 * place + 1]), blue = Int(pixels[4 * place + 2])
            $levels
        }
$fit
    }

    /// Resizes an axis of `old` places to `new`, `step` numbers apart, in lines that begin `line` numbers apart.
    private func along(
        _ levels: [Int], _ lines: Int, _ old: Int, _ new: Int, _ step: Int, _ line: Int, _ newLine: Int
    ) -> [Int] {
        var result = [Int](repeating: 0, count: lines * new * channels)
        let ratio = Double(old) / Double(new), reach = max(ratio, 1)
        for place in 0..<new {
            let centre = (Double(place) + 0.5) * ratio
            let first = max(Int(centre - reach + 0.5), 0), last = min(Int(centre + reach + 0.5), old)
            let weights = (first..<last).map { max(1 - abs(Double($$0) - centre + 0.5) / reach, 0) }
            let sum = weights.reduce(0, +)
            for other in 0..<lines {
                for channel in 0..<channels {
                    var value = 0.0
                    for (k, weight) in weights.enumerated() {
                        value += weight * Double(levels[other * line + (first + k) * step + channel])
                    }
                    result[other * newLine + place * step + channel] = min(max(Int((value / sum).rounded()), 0), 255)
                }
            }
        }
        return result
    }

$functions}
""")

LABELLING = Template("""\
    /// Returns all labels of a photo, the likeliest first.
    func answers(_ photo: UIImage) throws -> [Answer] {
        try interpreter.copy(input(photo), toInputAt: $input_index)
        try interpreter.invoke()
        let bytes = try interpreter.output(at: $output_index).data
        let values: [Float] = bytes.withUnsafeBytes { $$0.bindMemory(to: $output_type.self).map { $read } }
        return zip(labels, scores(values)).map { Answer(label: $$0, score: $$1) }.sorted { $$0.score > $$1.score }
    }
$answer""")
SCORING = """\
    private func scores(_ values: [Float]) -> [Float] {{
{}
    }}
"""
FOUND = """\
    /// An object with its edges in pixels of the upright photo.
    struct Found { let label: String; let score, left, top, right, bottom: Float }
"""
DETECTING = Template("""\
    /// Returns the objects of a photo, the likeliest first.
    func objects(_ photo: UIImage$arguments) throws -> [Found] {
        try interpreter.copy(input(photo), toInputAt: $input_index)
$thresholds        try interpreter.invoke()
        let boxes: [Float] = try numbers(at: $boxes), scores: [Float] = try numbers(at: $scores)
        let classes: [Int32] = try numbers(at: $classes), count: [Int32] = try numbers(at: $count)
        let image = upright(photo)
        let right = Float(image.width), bottom = Float(image.height)
$place
        return (0..<Int(count[0])).filter { scores[$$0] >= minScore }.map { place in
            let edges = boxes[4 * place..<4 * place + 4].map { $$0 }
            return Found(
                label: labels[Int(classes[place])], score: scores[place],
                left: min(max((edges[0] - left) * across, 0), right), top: min(max((edges[1] - top) * down, 0), bottom),
                right: min(max((edges[2] - left) * across, 0), right),
                bottom: min(max((edges[3] - top) * down, 0), bottom))
        }
    }

    private func numbers<Number>(at place: Int) throws -> [Number] {
        try interpreter.output(at: place).data.withUnsafeBytes { Array($$0.bindMemory(to: Number.self)) }
    }
""")
THRESHOLD = """\
        try interpreter.copy(withUnsafeBytes(of: {value}) {{ Data($0) }}, toInputAt: {index})
"""
STRETCHED_PLACE = """\
        let left: Float = 0, top: Float = 0
        let across = right / Float(width), down = bottom / Float(height)"""
BOXED_PLACE = """\
        let inside = inset(image), left = Float(inside.left), top = Float(inside.top)
        let across = right / Float(inside.width), down = bottom / Float(inside.height)"""
STRETCHED = """\
        let narrow = along(levels, rows, columns, width, channels, columns * channels, width * channels)
        return along(narrow, width, rows, height, width * channels, channels, channels)"""
BOXED = """\
        let inside = inset(upright), line = inside.width * channels
        let narrow = along(levels, rows, columns, inside.width, channels, columns * channels, line)
        let small = along(narrow, inside.width, rows, inside.height, line, channels, channels)
        var result = [Int](repeating: {border}, count: height * width * channels)
        for row in 0..<inside.height {{
            let start = ((inside.top + row) * width + inside.left) * channels
            result.replaceSubrange(start..<start + line, with: small[row * line..<(row + 1) * line])
        }}
        return result"""
INSET = """\
    /// Returns left edge, top edge, width and height of a photo inside the letterbox.
    private func inset(_ image: CGImage) -> (left: Int, top: Int, width: Int, height: Int) {
        var across = width, down = height
        if width * image.height <= height * image.width {
            down = max((2 * image.height * width + image.width) / (2 * image.width), 1)
        } else {
            across = max((2 * image.width * height + image.height) / (2 * image.height), 1)
        }
        return ((width - across) / 2, (height - down) / 2, across, down)
    }
"""

LEVELS = {
    3: "levels += [red, green, blue]",
    1: "levels.append((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)",
}
SCORES = {
    "softmax": """\
        let powers = values.map { exp($0 - values.max()!) }
        return powers.map { $0 / powers.reduce(0, +) }""",
    "sigmoid": "        return values.map { 1 / (1 + exp(-$0)) }",
    None: "        return values",
}
ANSWER = """
    /// Returns the likeliest label of a photo; nil for none of these, where its score is too low.
    func answer(_ photo: UIImage) throws -> Answer? {
        try answers(photo).first.flatMap { $0.score >= THRESHOLD ? $0 : nil }
    }
"""
TYPES = {"float32": "Float", "int8": "Int8", "uint8": "UInt8", "int16": "Int16"}


def swift_program(file: HostFile, labels: str) -> str:
    """Returns the source of the class.

    Args:
        file: facts of the .tflite file.
        labels: the name of the file of labels.
    """
    return TEMPLATE.substitute(
        **(_labelling(file) if file.output else _detecting(file)),
        fit=STRETCHED if file.border is None else BOXED.format(border=file.border),
        class_name=file.class_name,
        file=_text(file.name),
        labels=_text(labels),
        input_type=TYPES[file.input.dtype],
        colour="RGB" if file.channels == 3 else "grey",
        levels=LEVELS[file.channels],
        height=file.height,
        width=file.width,
        channels=file.channels,
        multiply=", ".join(map(repr, file.multiply)),
        add=", ".join(map(repr, file.add)),
        write=_write(file),
    )


def _labelling(file: HostFile) -> dict[str, str]:
    """Returns the parts of the class that are those of a classifier."""
    divided = f"        let logits = values.map {{ $0 / {file.temperature!r} }}\n" if file.temperature != 1 else ""
    read = "Float($0)"
    if file.output.scale:
        read = f"{file.output.scale!r} * (Float($0) - {file.output.zero_point})"
    answers = LABELLING.substitute(
        input_index=file.input.index,
        output_index=file.output.index,
        output_type=TYPES[file.output.dtype],
        read=read,
        answer="" if file.threshold is None else ANSWER.replace("THRESHOLD", repr(file.threshold)),
    )
    scores = divided + SCORES[file.activation].replace("values", "logits" if divided else "values")
    record = "    struct Answer { let label: String; let score: Float }\n"
    return dict(purpose="Labels of photos", record=record, answers=answers, functions=SCORING.format(scores))


def _detecting(file: HostFile) -> dict[str, str]:
    """Returns the parts of the class that are those of a detector."""
    arguments, thresholds = f", minScore: Float = {file.threshold!r}", ""
    if file.overlap is not None:
        arguments += f", overlap: Float = {file.overlap!r}"
        for value, name in (("minScore", "min_score"), ("overlap", "overlap")):
            thresholds += THRESHOLD.format(value=value, index=file.slots[name].index)
    answers = DETECTING.substitute(
        arguments=arguments,
        thresholds=thresholds,
        input_index=file.input.index,
        place=STRETCHED_PLACE if file.border is None else BOXED_PLACE,
        **{name: file.slots[name].index for name in ("boxes", "scores", "classes", "count")},
    )
    functions = "" if file.border is None else INSET
    return dict(purpose="Objects in photos", record=FOUND, answers=answers, functions=functions)


def _write(file: HostFile) -> str:
    if file.input.dtype == "float32":
        return "value"
    kind, slot = TYPES[file.input.dtype], file.input
    real = f"value / {slot.scale!r}" if slot.scale else "value"
    real = f"({real}).rounded(.toNearestOrEven) + {slot.zero_point or 0}"
    return f"{kind}(min(max({real}, Float({kind}.min)), Float({kind}.max)))"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
