"""Kotlin class that runs an exported classifier or detector of images in an Android app, with TensorFlow Lite."""

import json
from string import Template

from .host_file import HostFile

TEMPLATE = Template("""\
// $purpose by an exported file. Put the file and its .labels.txt into app/src/main/assets, and
// implementation("org.tensorflow:tensorflow-lite:2.16.1") into app/build.gradle.kts.
import android.content.Context
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt
import org.tensorflow.lite.Interpreter

class $class_name(context: Context) : AutoCloseable {
$record
    private val labels = context.assets.open($labels).bufferedReader().use { it.readLines() }
    private val interpreter = context.assets.openFd($file).use { asset ->
        FileInputStream(asset.fileDescriptor).channel.use { channel ->
            Interpreter(channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength))
        }
    }

$answers
    override fun close() = interpreter.close()

    /** Returns what the file takes: $colour pixels of $height x $width (height x width), row by row. */
    fun input(photo: Bitmap): ByteBuffer {
        val levels = resized(photo)
        val input = buffer(levels.size * $input_bytes)
        levels.forEachIndexed { place, level ->
            val value = level * MULTIPLY[place % CHANNELS] + ADD[place % CHANNELS]
            $write
        }
        input.rewind()
        return input
    }

    /** Resizes by the bilinear filter, antialiased: columns first, then rows, whole levels in between. */
    private fun resized(photo: Bitmap): IntArray {
        val colours = IntArray(photo.width * photo.height)
        photo.getPixels(colours, 0, photo.width, 0, 0, photo.width, photo.height)
        val levels = IntArray(colours.size * CHANNELS)
        colours.forEachIndexed { place, colour ->
            val red = colour shr 16 and 255
            val green = colour shr 8 and 255
            val blue = colour and 255
$levels
        }
        val wide = photo.width * CHANNELS
$fit
    }

    /** Resizes an axis of `old` places to `new`, `step` numbers apart, in lines that begin `line` numbers apart. */
    private fun along(
        levels: IntArray, lines: Int, old: Int, new: Int, step: Int, line: Int, newLine: Int
    ): IntArray {
        val result = IntArray(lines * new * CHANNELS)
        val ratio = old.toDouble() / new
        val reach = max(ratio, 1.0)
        for (place in 0 until new) {
            val centre = (place + 0.5) * ratio
            val first = max((centre - reach + 0.5).toInt(), 0)
            val last = min((centre + reach + 0.5).toInt(), old)
            val weights = DoubleArray(last - first) { max(1 - Math.abs(first + it - centre + 0.5) / reach, 0.0) }
            val sum = weights.sum()
            for (other in 0 until lines) for (channel in 0 until CHANNELS) {
                var value = 0.0
                for (k in weights.indices) value += weights[k] * levels[other * line + (first + k) * step + channel]
                result[other * newLine + place * step + channel] = min(max((value / sum).roundToInt(), 0), 255)
            }
        }
        return result
    }

$functions
    private fun buffer(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    private companion object {
        const val HEIGHT = $height
        const val WIDTH = $width
        const val CHANNELS = $channels
        val MULTIPLY = floatArrayOf($multiply)
        val ADD = floatArrayOf($add)$constants
    }
}
""")

LABELLING = Template("""\
    /** Returns all labels of an upright photo, the likeliest first. */
    fun answers(photo: Bitmap): List<Answer> {
        val output = buffer(labels.size * $output_bytes)
        interpreter.runSignature(mapOf($input_name to input(photo)), mapOf($output_name to output), "serve")
        output.rewind()
        val values = FloatArray(labels.size) { $read }
        return labels.zip(scores(values).asList()) { label, score -> Answer(label, score) }
            .sortedByDescending { it.score }
    }
$answer""")
SCORING = """\
    private fun scores(values: FloatArray): FloatArray {{
{}
    }}
"""
DETECTING = Template("""\
    /** Returns the objects of an upright photo, the likeliest first. */
    fun objects(photo: Bitmap$arguments): List<Found> {
        val boxes = buffer(16 * MOST)
        val classes = buffer(4 * MOST)
        val scores = buffer(4 * MOST)
        val count = buffer(4)
        val inputs = mapOf<String, Any>($inputs)
        val outputs = mapOf<String, Any>("boxes" to boxes, "classes" to classes, "scores" to scores, "count" to count)
        interpreter.runSignature(inputs, outputs, "serve")
$place
        return (0 until count.getInt(0)).filter { scores.getFloat(4 * it) >= $least }.map { place ->
            val edges = FloatArray(4) { boxes.getFloat(16 * place + 4 * it) }
            Found(
                labels[classes.getInt(4 * place)], scores.getFloat(4 * place),
                $edges
            )
        }
    }
""")
STRETCHED_PLACE = """\
        val across = photo.width.toFloat() / WIDTH
        val down = photo.height.toFloat() / HEIGHT"""
BOXED_PLACE = """\
        val (left, top, width, height) = inset(photo)
        val across = photo.width.toFloat() / width
        val down = photo.height.toFloat() / height"""
STRETCHED_EDGES = "edges[0] * across, edges[1] * down, edges[2] * across, edges[3] * down"
BOXED_EDGES = """\
min(max((edges[0] - left) * across, 0f), photo.width.toFloat()),
                min(max((edges[1] - top) * down, 0f), photo.height.toFloat()),
                min(max((edges[2] - left) * across, 0f), photo.width.toFloat()),
                min(max((edges[3] - top) * down, 0f), photo.height.toFloat())"""
STRETCHED = """\
        val narrow = along(levels, photo.height, photo.width, WIDTH, CHANNELS, wide, WIDTH * CHANNELS)
        return along(narrow, WIDTH, photo.height, HEIGHT, WIDTH * CHANNELS, CHANNELS, CHANNELS)"""
BOXED = """\
        val (left, top, width, height) = inset(photo)
        val line = width * CHANNELS
        val narrow = along(levels, photo.height, photo.width, width, CHANNELS, wide, line)
        val small = along(narrow, width, photo.height, height, line, CHANNELS, CHANNELS)
        val result = IntArray(HEIGHT * WIDTH * CHANNELS) { BORDER }
        for (row in 0 until height) {
            small.copyInto(result, ((top + row) * WIDTH + left) * CHANNELS, row * line, (row + 1) * line)
        }
        return result"""
INSET = """\
    /** Returns left edge, top edge, width and height of a photo inside the letterbox. */
    private fun inset(photo: Bitmap): IntArray {
        val (width, height) = photo.width to photo.height
        val size = if (WIDTH * height <= HEIGHT * width) {
            WIDTH to max((2 * height * WIDTH + width) / (2 * width), 1)
        } else {
            max((2 * width * HEIGHT + height) / (2 * height), 1) to HEIGHT
        }
        return intArrayOf((WIDTH - size.first) / 2, (HEIGHT - size.second) / 2, size.first, size.second)
    }

"""
FOUND = """\
    /** An object with its edges in pixels of the photo. */
    data class Found(
        val label: String, val score: Float, val left: Float, val top: Float, val right: Float, val bottom: Float
    )
"""
RGB = """\
            levels[3 * place] = red
            levels[3 * place + 1] = green
            levels[3 * place + 2] = blue"""
GREY = "            levels[place] = (19595 * red + 38470 * green + 7471 * blue + 32768) shr 16"
SCORES = {
    "softmax": """\
        val greatest = values.fold(Float.NEGATIVE_INFINITY) { most, value -> max(most, value) }
        val powers = FloatArray(values.size) { exp(values[it] - greatest) }
        val sum = powers.sum()
        return FloatArray(values.size) { powers[it] / sum }""",
    "sigmoid": "        return FloatArray(values.size) { 1 / (1 + exp(-values[it])) }",
    None: "        return values",
}
ANSWER = """
    /** Returns the likeliest label of an upright photo; null for none of these, where its score is too low. */
    fun answer(photo: Bitmap): Answer? = answers(photo).first().takeIf { it.score >= THRESHOLD }
"""
BYTES = {"float32": 4, "uint8": 1, "int8": 1, "int16": 2}
STORED = {"uint8": "input.put({}.toByte())", "int8": "input.put({}.toByte())", "int16": "input.putShort({}.toShort())"}
READ = {
    "float32": "output.float",
    "int8": "output.get().toInt()",
    "uint8": "(output.get().toInt() and 255)",
    "int16": "output.short.toInt()",
}


def kotlin_program(file: HostFile, labels: str) -> str:
    """Returns the source of the class.

    Args:
        file: facts of the .tflite file.
        labels: the name of the file of labels.
    """
    return TEMPLATE.substitute(
        **(_labelling(file) if file.output else _detecting(file)),
        fit=STRETCHED if file.border is None else BOXED,
        class_name=file.class_name,
        file=_text(file.name),
        labels=_text(labels),
        input_bytes=BYTES[file.input.dtype],
        colour="RGB" if file.channels == 3 else "grey",
        levels=RGB if file.channels == 3 else GREY,
        height=file.height,
        width=file.width,
        channels=file.channels,
        multiply=", ".join(map(_float, file.multiply)),
        add=", ".join(map(_float, file.add)),
        write=_write(file),
    )


def _labelling(file: HostFile) -> dict[str, str]:
    """Returns the parts of the class that are those of a classifier."""
    divided = ""
    if file.temperature != 1:
        by = _float(file.temperature)
        divided = f"        val logits = FloatArray(values.size) {{ values[it] / {by} }}\n"
    read = READ[file.output.dtype]
    if file.output.scale:
        read = f"{_float(file.output.scale)} * ({read} - {file.output.zero_point})"
    answers = LABELLING.substitute(
        input_name=_text(file.input.name),
        output_name=_text(file.output.name),
        output_bytes=BYTES[file.output.dtype],
        read=read,
        answer="" if file.threshold is None else ANSWER.replace("THRESHOLD", _float(file.threshold)),
    )
    scores = divided + SCORES[file.activation].replace("values", "logits" if divided else "values")
    record = "    data class Answer(val label: String, val score: Float)\n"
    functions = SCORING.format(scores)
    return dict(purpose="Labels of photos", record=record, answers=answers, functions=functions, constants="")


def _detecting(file: HostFile) -> dict[str, str]:
    """Returns the parts of the class that are those of a detector."""
    arguments, inputs = f", minScore: Float = {_float(file.threshold)}", f"{_text(file.input.name)} to input(photo)"
    if file.overlap is not None:
        arguments += f", overlap: Float = {_float(file.overlap)}"
        inputs += ', "min_score" to floatArrayOf(minScore), "overlap" to floatArrayOf(overlap)'
    boxed = file.border is not None
    answers = DETECTING.substitute(
        arguments=arguments,
        inputs=inputs,
        least="minScore",
        place=BOXED_PLACE if boxed else STRETCHED_PLACE,
        edges=BOXED_EDGES if boxed else STRETCHED_EDGES,
    )
    constants = f"\n        const val MOST = {file.most}" + (
        f"\n        const val BORDER = {file.border}" if boxed else ""
    )
    functions = INSET if boxed else ""
    return dict(purpose="Objects in photos", record=FOUND, answers=answers, functions=functions, constants=constants)


def _write(file: HostFile) -> str:
    if file.input.dtype == "float32":
        return "input.putFloat(value)"
    low, high = file.input.bounds
    real = f"value / {_float(file.input.scale)}" if file.input.scale else "value"
    whole = f"Math.rint(({real}).toDouble()).toInt() + {file.input.zero_point or 0}"
    return STORED[file.input.dtype].format(f"min(max({whole}, {low}), {high})")


def _float(number: float | None) -> str:
    return "1f" if number is None else f"{float(number)!r}f"


def _text(text: str) -> str:
    return json.dumps(text).replace("$", "\\$")
