"""Swift class that runs an exported image classifier in an iOS app, with the TensorFlowLiteSwift library."""

import json
from string import Template

from .host_file import HostFile

TEMPLATE = Template("""\
// Labels of photos by an exported file. Add the file and its .labels.txt to the app's target, and the package
// TensorFlowLiteSwift. Written for Swift 5; not compiled where this file was made.
import TensorFlowLite
import UIKit

final class $class_name {
    struct Answer { let label: String; let score: Float }

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

    /// Returns all labels of a photo, the likeliest first.
    func answers(_ photo: UIImage) throws -> [Answer] {
        try interpreter.copy(input(photo), toInputAt: $input_index)
        try interpreter.invoke()
        let bytes = try interpreter.output(at: $output_index).data
        let values: [Float] = bytes.withUnsafeBytes { $$0.bindMemory(to: $output_type.self).map { $read } }
        return zip(labels, scores(values)).map { Answer(label: $$0, score: $$1) }.sorted { $$0.score > $$1.score }
    }
$answer
    /// Returns what the file takes: $colour pixels of $height x $width (height x width), row by row.
    func input(_ photo: UIImage) -> Data {
        var numbers = [$input_type]()
        for (place, level) in resized(photo).enumerated() {
            let value = Float(level) * multiply[place % channels] + add[place % channels]
            numbers.append($write)
        }
        return numbers.withUnsafeBufferPointer { Data(buffer: $$0) }
    }

    /// Returns the levels of an upright photo, resized by the bilinear filter, antialiased: columns first, then rows.
    private func resized(_ photo: UIImage) -> [Int] {
        let format = UIGraphicsImageRendererFormat()
        format.scale = 1
        let size = CGSize(width: photo.size.width * photo.scale, height: photo.size.height * photo.scale)
        let upright = UIGraphicsImageRenderer(size: size, format: format).image { _ in
            photo.draw(in: CGRect(origin: .zero, size: size))
        }.cgImage!
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
        let narrow = along(levels, rows, columns, width, channels, columns * channels, width * channels)
        return along(narrow, width, rows, height, width * channels, channels, channels)
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

    private func scores(_ values: [Float]) -> [Float] {
$scores
    }
}
""")

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
    divided = f"        let logits = values.map {{ $0 / {file.temperature!r} }}\n" if file.temperature != 1 else ""
    read = "Float($0)"
    if file.output.scale:
        read = f"{file.output.scale!r} * (Float($0) - {file.output.zero_point})"
    return TEMPLATE.substitute(
        class_name=file.class_name,
        file=_text(file.name),
        labels=_text(labels),
        input_index=file.input.index,
        output_index=file.output.index,
        input_type=TYPES[file.input.dtype],
        output_type=TYPES[file.output.dtype],
        colour="RGB" if file.channels == 3 else "grey",
        levels=LEVELS[file.channels],
        height=file.height,
        width=file.width,
        channels=file.channels,
        multiply=", ".join(map(repr, file.multiply)),
        add=", ".join(map(repr, file.add)),
        read=read,
        write=_write(file),
        scores=divided + SCORES[file.activation].replace("values", "logits" if divided else "values"),
        answer="" if file.threshold is None else ANSWER.replace("THRESHOLD", repr(file.threshold)),
    )


def _write(file: HostFile) -> str:
    if file.input.dtype == "float32":
        return "value"
    kind, slot = TYPES[file.input.dtype], file.input
    real = f"value / {slot.scale!r}" if slot.scale else "value"
    real = f"({real}).rounded(.toNearestOrEven) + {slot.zero_point or 0}"
    return f"{kind}(min(max({real}, Float({kind}.min)), Float({kind}.max)))"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
