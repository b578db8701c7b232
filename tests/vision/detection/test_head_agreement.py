"""Integer files of detectors are judged by their objects: other objects are refused, background counts little."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_with_postprocess
from kerasdl.deploy.export.answer_judgement import judged_by, present_judge
from kerasdl.deploy.tflite import runtime
from kerasdl.vision.detection.object_decoder import ObjectDecoder
from kerasdl.vision.detection.two_stage.windows import SlidingWindows

SIDE, CELLS, CLASSES = 64, 8, 3
BOXES, SCORES = slice(CLASSES, CLASSES + 4), slice(0, CLASSES)


def network():
    """A network of FCOS's heads that reads each cell of 8 pixels: three channels of classes, four of distances."""
    image = keras.Input((SIDE, SIDE, CLASSES + 4), name="image")
    cells = keras.layers.AveragePooling2D(SIDE // CELLS)(image)
    heads = {}
    for name, part, scale, bias in (
        ("classes", SCORES, 8.0, -6.0),
        ("boxes", BOXES, 2.0, 0.0),
        ("centredness", None, 0, 3),
    ):
        weights = np.eye(CLASSES + 4)[:, part] * scale if part else np.zeros((CLASSES + 4, 1))
        head = keras.layers.Conv2D(weights.shape[1], 1, name=f"{name}_stride8")
        heads[f"{name}_stride8"] = head(cells)
        head.set_weights([weights[None, None], np.full(weights.shape[1], bias)])
    return keras.Model(image, heads, name="fcos")


def scenes(count, seed=0, background=0.0):
    """Images (B, 64, 64, 7) with two objects each, of distances that differ by edge."""
    generator = np.random.default_rng(seed)
    cells = np.zeros((count, CELLS, CELLS, CLASSES + 4), "float32")
    cells[..., BOXES] = background
    for image in cells:
        for row in generator.choice([1, 3, 5], 2, replace=False):
            column, kind = generator.integers(2, 6), generator.integers(CLASSES)
            image[row, column, kind] = 1.0
            image[row, column, BOXES] = generator.permutation([0.3, 0.5, 0.7, 0.9]) * generator.uniform(0.8, 1.1)
    return cells.repeat(SIDE // CELLS, axis=1).repeat(SIDE // CELLS, axis=2)


def heads_of(images):
    return {name: np.array(value) for name, value in network()(images).items()}


def changed(heads, name, change):
    result = {each: value.copy() for each, value in heads.items()}
    result[f"{name}_stride8"] = change(result[f"{name}_stride8"]).astype("float32")
    return result


DECODER = ObjectDecoder("fcos", (SIDE, SIDE), name="objects")
HOSTILE = {
    "two classes swapped": ("classes", lambda x: x[..., [1, 0, 2]], "objects missed"),
    "classes in another order": ("classes", lambda x: np.roll(x, 1, axis=-1), "objects added"),
    "two edges swapped": ("boxes", lambda x: x[..., [1, 0, 2, 3]], "edges off"),
    "boxes two pixels to the right": ("boxes", lambda x: x + np.array([-0.25, 0, 0.25, 0]), "edges shifted"),
    "boxes an eighth larger": ("boxes", lambda x: x * 1.125, "edges shifted"),
    "nothing found": ("classes", lambda x: np.full_like(x, -9.0), "objects missed 1"),
    "scores halved": ("classes", lambda x: np.where(x > 0, -0.5, x), "scores off"),
    "objects everywhere": ("classes", lambda x: np.maximum(x, [1.0, -9, -9]), "objects added"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_other_objects_are_faults(case):
    heads = heads_of(scenes(12))
    name, change, words = HOSTILE[case]
    assert any(words in each for each in DECODER.agreement(heads, changed(heads, name, change)).faults)


def test_background_is_no_fault_and_few_objects_judge_nothing():
    heads = heads_of(scenes(12))
    empty = heads["classes_stride8"].max(axis=-1, keepdims=True) < 0
    other = changed(heads, "boxes", lambda x: np.where(empty, 4.0, x + 0.01))
    agreement = DECODER.agreement(heads, other)
    assert not agreement.faults
    assert str(agreement).startswith("24 objects of 12 examples: share of objects missed 0, share of objects added 0")
    few = {name: value[:4] for name, value in heads.items()}
    assert DECODER.agreement(few, few) is None
    assert DECODER.agreement(heads, changed(heads, "boxes", lambda x: x * np.nan)) is None


def test_levels_without_objects_are_named():
    heads = heads_of(scenes(12))
    coarse = {name.replace("8", "16"): value[:, :4, :4] * 0 - 9 for name, value in heads.items()}
    agreement = DECODER.agreement({**heads, **coarse}, {**heads, **coarse})
    assert agreement.unseen == ("boxes_stride16", "centredness_stride16", "classes_stride16")


def export(folder, samples, **options):
    net = network()
    heads = {name: keras.Input(head.shape[1:], name=name) for name, head in net.output.items()}
    objects = keras.Model(heads, DECODER(heads), name="objects")
    given = {"quantize": "int8", "representative": scenes(24, 1), "samples": samples}
    return export_with_postprocess(net, objects, folder / "m.tflite", **given, **options)


def test_background_beyond_the_ranges_passes_where_the_objects_agree(tmp_path):
    report = export(tmp_path, scenes(12, 2, background=1.8))
    assert 0.25 < report.worst_relative < report.tolerance == 0.5
    (note,) = (each for each in report.notes if "judged by answers" in each)
    assert "more than 0.25, mostly where no answer is" in note
    assert "24 objects of 12 examples" in note
    with pytest.raises(ExportError, match=r"stay within 0.25 of the model"):
        export(tmp_path, scenes(4, 2, background=1.8))  # too few objects: the outputs decide


@pytest.mark.parametrize("case", ["two classes swapped", "nothing found"])
def test_a_file_of_other_objects_is_refused(case, tmp_path, monkeypatch):
    """Background fills the root mean square, which such a file leaves within its bound."""
    name, change, words = HOSTILE[case]
    right = runtime.run_file

    def wrong(*arguments, **options):
        outputs = right(*arguments, **options)
        return changed(outputs, name, change) if f"{name}_stride8" in outputs else outputs

    monkeypatch.setattr(runtime, "run_file", wrong)
    with pytest.raises(ExportError, match=f"must give the answers of the model; of 24 objects .*{words}"):
        export(tmp_path, scenes(12, 2))
    assert not list(tmp_path.iterdir())


MAPS = "region_maps_stride8"


def second_stage(thresholds=False):
    """A reader of maps of cells: a window on each cell, its classes and offsets, decoding and suppression."""
    maps = keras.Input((CELLS, CELLS, CLASSES + 4), name=MAPS)
    left, top = (each.ravel() * 8.0 - 4 for each in np.meshgrid(*[np.arange(CELLS)] * 2))
    windows = np.stack([left, top, left + 16, top + 16], axis=-1)
    heads = {"proposals": SlidingWindows(windows.tolist(), dtype="float32")(maps)}
    of_class, of_edge = np.zeros((2, CLASSES + 4, 1 + CLASSES)), np.zeros((CLASSES + 4, 4 * (1 + CLASSES)))
    of_class[0, SCORES, 1:] = 8 * np.eye(CLASSES)
    of_edge[BOXES] = np.tile(np.eye(4), 1 + CLASSES)
    for name, weights, bias in (("classes", of_class[0], [0] + [-4] * CLASSES), ("boxes", of_edge, [0] * 16)):
        layer = keras.layers.Conv2D(weights.shape[1], 1, name=f"{name}_of_cells")
        heads[name] = keras.layers.Reshape((CELLS**2, -1))(layer(maps))
        layer.set_weights([weights[None, None], np.array(bias, float)])
    bounds = {"min_score": keras.Input((), name="min_score"), "overlap": keras.Input((), name="overlap")}
    found = ObjectDecoder("fast_rcnn", (SIDE, SIDE), name="objects")(heads, thresholds=bounds if thresholds else None)
    return keras.Model({MAPS: maps, **(bounds if thresholds else {})}, found, name="objects")


def maps_of(images):
    return {MAPS: images[:, ::8, ::8].copy()}


STAGES = {
    "two classes swapped": (lambda x: x[..., [1, 0, 2, 3, 4, 5, 6]], "objects missed"),
    "edges moved": (lambda x: x + np.array([0, 0, 0, 1, 0, 0, 0]), "edges shifted"),
    "boxes a fifth larger": (lambda x: x + np.array([0, 0, 0, 0, 0, 1, 1]), "edges off"),
    "nothing found": (lambda x: x * 0, "objects missed 1"),
    "scores halved": (lambda x: np.where(x == 1, 0.5, x), "scores off"),
    "objects everywhere": (lambda x: np.maximum(x, [1, 0, 0, 0, 0, 0, 0]), "objects added"),
    "maps moved by a cell": (lambda x: np.roll(x, 1, axis=2), "objects missed"),
}


@pytest.mark.parametrize("thresholds", [False, True])
@pytest.mark.parametrize("case", STAGES)
def test_the_objects_of_a_second_stage_judge_maps(case, thresholds):
    maps, (change, words) = maps_of(scenes(12)), STAGES[case]
    with judged_by(second_stage(thresholds)):
        judge = present_judge()
    assert any(words in each for each in judge(maps, {MAPS: change(maps[MAPS]).astype("float32")}).faults)
    agreement = judge(maps, {MAPS: maps[MAPS] + 0.02})
    assert not agreement.faults
    assert str(agreement).startswith("24 objects of 12 examples: share of objects missed 0, share of objects added 0")
    assert 0 < agreement.gaps["edges off by a share of the side of"][0] < 0.01
    assert judge({MAPS: maps[MAPS][:4]}, {MAPS: maps[MAPS][:4]}) is None


@pytest.mark.parametrize("case", [None, "maps moved by a cell"])
def test_an_integer_file_of_a_first_stage_is_held_to_the_objects_of_the_second(case, tmp_path, monkeypatch):
    image = keras.Input((SIDE, SIDE, CLASSES + 4), name="image")
    cells = keras.layers.AveragePooling2D(SIDE // CELLS)(image)
    layer = keras.layers.Conv2D(CLASSES + 4, 1, name=MAPS)
    net = keras.Model(image, {MAPS: layer(cells)}, name="fast_rcnn")
    layer.set_weights([np.eye(CLASSES + 4)[None, None], np.zeros(CLASSES + 4)])
    right, (change, words) = runtime.run_file, STAGES.get(case, (lambda x: x, ""))

    def run(*arguments, **options):
        outputs = right(*arguments, **options)
        return {MAPS: change(outputs[MAPS])} if MAPS in outputs else outputs

    monkeypatch.setattr(runtime, "run_file", run)
    given = {"quantize": "int8", "representative": scenes(24, 1), "samples": scenes(12, 2)}
    if case is None:
        report = export_with_postprocess(net, second_stage(), tmp_path / "m.tflite", **given)
        assert any("judged by answers" in each and "24 objects of 12 examples" in each for each in report.notes)
        return
    with pytest.raises(ExportError, match=f"must give the answers of the model; of 24 objects .*{words}"):
        export_with_postprocess(net, second_stage(), tmp_path / "m.tflite", **given)


def test_boxes_do_not_judge_masks():
    heads = {"proposals": (9, 4), "classes": (9, 4), "boxes": (9, 16)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in heads.items()}
    for method, judges in (("faster_rcnn", True), ("mask_rcnn", False)):
        with judged_by(keras.Model(inputs, ObjectDecoder(method, (SIDE, SIDE))(inputs))):
            assert (present_judge() is not None) == judges
