"""Masks and maps from files of objects: COCO's polygons and run lengths, labelme's forms, VOC's maps."""

import json

import numpy as np
import pytest
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, load
from kerasdl.data.detection import draw_shapes, read_coco, read_labelme, write_coco
from kerasdl.data.segmentation import draw_cells, read_voc_masks, write_masks
from kerasdl.ops import encode_mask, encode_polygons

RING = [2, 2, 12.5, 3, 9, 14, 3, 9.5]
HOLE = np.zeros((20, 16), bool)
HOLE[4:18, 5:15] = True
HOLE[8:12, 8:12] = False


def coco(folder, *annotations, size=(20, 16)):
    """Writes a COCO file of two images and the annotations of the first one."""
    images = []
    for number, (height, width) in enumerate((size, (10, 30))):
        Image.new("RGB", (width, height)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    defaults = {"image_id": 0, "category_id": 1, "bbox": [1, 1, 12, 14]}
    content = {"images": images, "annotations": [defaults | each for each in annotations]}
    content["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def test_polygons_and_run_lengths_of_both_kinds_become_masks(tmp_path):
    runs = encode_mask(HOLE)
    second = [1, 15, 5, 15, 5, 19, 1, 19]
    path = coco(
        tmp_path,
        {"segmentation": [RING, second]},
        {"segmentation": runs.to_json(), "category_id": 2},
        {"segmentation": runs.to_json(packed=False), "iscrowd": 1},
    )
    data = read_coco(path, masks=True, on_bad="refuse")
    assert data.source.labels["masks"].shape == (2, None, None, None)
    sized = data.prepared((20, 16, 3), None)
    masks = sized[0][1]["masks"]
    assert (masks.dtype, masks.shape) == (np.uint8, (3, 20, 16))
    np.testing.assert_array_equal(masks[0], encode_polygons([RING, second], 20, 16).mask())
    np.testing.assert_array_equal(masks[1:], [HOLE, HOLE])
    assert sized[1][1]["masks"].shape == (0, 20, 16)
    large = data.prepared((40, 48, 3), None)[0][1]["masks"]
    np.testing.assert_array_equal(large, masks.repeat(2, 1).repeat(3, 2))
    with pytest.warns(DataWarning, match="is a crowd region"):
        plain = read_coco(path, masks=True, crowd="skip").prepared((20, 16, 3), None)
    np.testing.assert_array_equal(plain[0][1]["masks"], masks[:2])


def test_masks_are_batched_alike_from_memory_and_on_demand(tmp_path, monkeypatch):
    scenes = draw_shapes(4, side=32, masks=True)
    write_coco(scenes, tmp_path / "a.json", tmp_path / "images")
    data = load(f"coco:{tmp_path / 'a.json'}", labels="masks")
    true = [labels["masks"].to_list() for _, labels in scenes.batches(3, shuffle=True, seed=1)]
    for limit in (2**28, 10):
        monkeypatch.setattr("kerasdl.data.sources.TENSOR_LIMIT", limit)
        batches = [labels["masks"] for _, labels in data[:].batches(3, shuffle=True, seed=1)]
        assert [each.to_list() for each in batches] == true
        assert {(each.dtype.name, each.shape[2:].as_list()[0]) for each in batches} == {("uint8", 32)}
    assert data.arrays()[1]["masks"].lengths.tolist() == scenes.source.labels["masks"].lengths.tolist()
    assert data.fingerprint() == data[:].fingerprint() != data[1:].fingerprint()


def test_masks_come_back_exactly_from_a_coco_file(tmp_path):
    scenes = draw_shapes(3, side=48, seed=3, masks=True)
    write_coco(scenes, tmp_path / "a.json", tmp_path / "images")
    back = read_coco(tmp_path / "a.json", tmp_path / "images", masks=True, on_bad="refuse")
    for (_, labels), (_, labels2) in zip(scenes, back, strict=True):
        np.testing.assert_array_equal(labels["masks"], labels2["masks"])
        np.testing.assert_array_equal(labels["boxes"], labels2["boxes"])
        np.testing.assert_array_equal(labels2["areas"], labels["masks"].sum(axis=(1, 2)))
    maps = load(f"coco:{tmp_path / 'a.json'}", images=tmp_path / "images", labels="semantic", scale=None)
    true = draw_shapes(3, side=48, seed=3, semantic=True)
    assert (maps.task, maps.class_names) == (true.task, ("background", *true.class_names[1:]))
    for (_, labels), (_, labels2) in zip(true, maps, strict=True):  # visible pixels do not overlap
        np.testing.assert_array_equal(labels["semantic"], labels2["semantic"])


def test_smaller_objects_lie_over_larger_ones_and_crowds_are_left_out(tmp_path):
    square = lambda left, top, side: [  # noqa: E731
        [left, top, left + side, top, left + side, top + side, left, top + side]
    ]
    path = coco(
        tmp_path,
        {"segmentation": square(4, 4, 4), "category_id": 2},
        {"segmentation": square(2, 2, 10)},
        {"segmentation": encode_mask(np.arange(320).reshape(20, 16) >= 160).to_json(), "iscrowd": 1},
    )
    data = read_coco(path, semantic=True, on_bad="refuse")
    assert (data.task, data.class_names) == ("semantic_segmentation", ("background", "cat", "dog"))
    labels = data.prepared((20, 16, 3), None)[0][1]["semantic"]
    true = np.zeros((20, 16), np.uint8)
    true[10:] = 255
    true[2:12, 2:12] = 1
    true[4:8, 4:8] = 2
    np.testing.assert_array_equal(labels, true)
    assert not data.prepared((20, 16, 3), None)[1][1]["semantic"].any()
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "background"  # its pixels are class 0
    path.write_text(json.dumps(content))
    assert read_coco(path, semantic=True).class_names == ("background", "dog")
    np.testing.assert_array_equal(
        read_coco(path, semantic=True).prepared((20, 16, 3), None)[0][1]["semantic"],
        np.select([true == 255, true == 2], [255, 1], 0),
    )


@pytest.mark.parametrize(
    ("segmentation", "text"),
    [
        (None, "it has no segmentation"),
        ([], "it has no segmentation"),
        ([[1, 2, 3, 4]], "is not three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "is not three points or more"),
        ([[1, 2, 3, 4, 5, "x"]], "is not three points or more"),
        ([[1, 2, 3, 4, 5, float("nan")]], "is not three points or more"),
        ([[1, 2, 3, 4, 5, 10**7]], "is not three points or more"),
        ([[1, 2, 3, 4, 5, 10**400]], "is not three points or more"),
        ({"size": [20, 16]}, "its run lengths are faulty"),
        ({"size": [20, 16], "counts": [1, 2]}, "its run lengths are faulty"),
        ({"size": [20, 16], "counts": "\x01"}, "its run lengths are faulty"),
        ({"size": [20, "16"], "counts": [320]}, "its run lengths are faulty"),
        ({"size": [20, 16], "counts": [10**400]}, "its run lengths are faulty"),
        ({"size": [16, 20], "counts": [0, 320]}, "its run lengths are of 20x16 pixels, the image has 16x20"),
        ({"size": [20, 16], "counts": [320]}, "its mask is empty"),
    ],
)
def test_faulty_masks_are_named_and_their_objects_left_out(segmentation, text, tmp_path):
    path = coco(tmp_path, {"segmentation": segmentation}, {"segmentation": [RING]})
    for asked in ("masks", "semantic"):
        with pytest.warns(DataWarning, match=f"1 fault in .*annotation .* of 0.png: .*{text}"):
            data = read_coco(path, **{asked: True})
    assert np.count_nonzero(data.prepared((20, 16, 3), None)[0][1]["semantic"]) > 50
    with pytest.raises(DataError, match=text):
        load(f"coco:{path}", labels="masks", on_bad="refuse")
    assert read_coco(path, on_bad="refuse").source.labels["boxes"].lengths.tolist() == [2, 0]


def labelme(folder, *shapes):
    Image.new("RGB", (16, 20)).save(folder / "a.png")
    shapes = [{"label": label, "shape_type": form, "points": points} for label, form, points in shapes]
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes}))
    return folder


def test_labelme_draws_forms_in_their_order(tmp_path):
    points = np.reshape(RING, (-1, 2)).tolist()
    folder = labelme(
        tmp_path,
        ("dog", "polygon", points),
        ("cat", "rectangle", [[14, 18], [4, 6]]),
        ("dog", "circle", [[8, 8], [8, 11]]),
    )
    ring, box, disc = read_labelme(folder, masks=True, on_bad="refuse")[0][1]["masks"]
    np.testing.assert_array_equal(ring, encode_polygons([RING], 20, 16).mask())
    true = np.zeros((20, 16), np.uint8)
    true[6:18, 4:14] = 1
    np.testing.assert_array_equal(box, true)
    rows, columns = np.indices((20, 16)) + 0.5
    np.testing.assert_array_equal(disc, (rows - 8) ** 2 + (columns - 8) ** 2 <= 9)
    semantic = load(f"labelme:{folder}", labels="semantic")[0][1]["semantic"]
    np.testing.assert_array_equal(semantic, np.select([disc == 1, box == 1, ring == 1], [2, 1, 2], 0))


def voc(folder, **lists):
    write_masks(draw_cells(4, side=32, weights=False), folder)
    for old, new in {"images": "JPEGImages", "masks": "SegmentationClass"}.items():
        (folder / old).rename(folder / new)
    for name, stems in lists.items():
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(stems))
    return folder


def test_maps_of_voc_follow_its_lists(tmp_path):
    folder = voc(tmp_path, train=("1", "3"), val=("2",))
    Image.new("RGB", (32, 32)).save(folder / "JPEGImages" / "unmasked.jpg")  # most of VOC's images have no mask
    data = load(f"voc:{folder}", labels="semantic", on_bad="refuse", scale=None)
    assert (data.size, data.class_names) == (2, ("background", "cell"))
    cells = draw_cells(4, side=32, weights=False).source.labels["semantic"]
    np.testing.assert_array_equal(data[1][1]["semantic"], cells[2])
    assert [load(f"voc:{folder}", split, labels="semantic").size for split in ("val", "all")] == [1, 4]
    (folder / "classes.txt").unlink()
    assert read_voc_masks(folder).class_names[15] == "person"
    with pytest.raises(DataError, match=r"has no test.txt"):
        read_voc_masks(folder, "test")
    with pytest.raises(ArgumentError, match="split must be one of"):
        read_voc_masks(folder, "exam")
    (folder / "JPEGImages" / "3.png").unlink()
    with pytest.warns(DataWarning, match="3: the mask has no image"):
        assert read_voc_masks(folder).size == 1
    with pytest.raises(DataError, match="holds no SegmentationClass"):
        read_voc_masks(tmp_path / "none")


def test_labels_that_a_kind_of_data_lacks_are_refused(tmp_path):
    path = coco(tmp_path, {"segmentation": [RING]})
    with pytest.raises(ArgumentError, match="exclude each other"):
        read_coco(path, masks=True, semantic=True)
    for name, labels in (
        (f"coco:{path}", "panoptic"),
        ("digits", "semantic"),
        ("yolo:a.yaml", "masks"),
        ("voc:a", "masks"),
    ):
        with pytest.raises(ArgumentError, match="labels of"):
            load(name, labels=labels)
    with pytest.raises(ArgumentError, match="images is for boxes of voc"):
        load(f"voc:{tmp_path}", labels="semantic", images=tmp_path)
