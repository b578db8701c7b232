"""Files of boxes: exact round trips, every fault named in a line and left out or refused, strangers' files harmless."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, Ragged, load
from kerasdl.data.detection import (
    draw_shapes,
    read_coco,
    read_labelme,
    read_voc,
    read_yolo,
    write_coco,
    write_voc,
    write_yolo,
)
from kerasdl.data.detection.annotations import inner_path, upright_size
from kerasdl.data.sources import Examples

WRITE = {
    "coco": lambda data, folder: write_coco(data, folder / "a.json", folder / "images"),
    "voc": lambda data, folder: write_voc(data, folder),
    "yolo": lambda data, folder: write_yolo(data, folder),
}
READ = {
    "coco": lambda folder, **more: read_coco(folder / "a.json", folder / "images", **more),
    "voc": lambda folder, **more: read_voc(folder, **more),
    "yolo": lambda folder, **more: read_yolo(folder / "data.yaml", **more),
    "labelme": lambda folder, **more: read_labelme(folder, **more),
}
NAMES = ("a: b", 'the "c"', "d & <e>")


def dataset(boxes, classes, crowd=None, side=40):
    """Black images with boxes (one array an image) of three classes with names that need quoting."""
    like = draw_shapes(1, side=32)
    labels = {"boxes": Ragged.of([np.array(each, "float32").reshape(-1, 4) for each in boxes])}
    labels["classes"] = Ragged.of([np.array(each, "int32") for each in classes])
    labels["crowd"] = Ragged.of(
        [np.zeros(len(each), bool) if crowd is None else crowd[n] for n, each in enumerate(boxes)]
    )
    images = np.zeros((len(boxes), side, side, 3), np.uint8)
    images[:] = np.arange(len(boxes))[:, None, None, None]
    values = vars(like) | {"class_names": NAMES, "input_shape": images.shape[1:], "size": len(boxes)}
    return type(like)(**values | {"source": Examples(images, labels)})


def equal(one, other, exact=True):
    assert one.size == other.size
    for place in range(one.size):
        (image, labels), (image2, labels2) = one[place], other[place]
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels["crowd"], labels2["crowd"])
        names = (
            [data.class_names[label] for label in part["classes"]] for data, part in ((one, labels), (other, labels2))
        )
        assert next(names) == next(names)
        if exact:
            np.testing.assert_array_equal(labels["boxes"], labels2["boxes"])
        np.testing.assert_allclose(labels["boxes"], labels2["boxes"], atol=1e-5)


EDGE = st.just(0.0) | st.floats(2**-10, 40, width=32)
EDGES = st.tuples(*[EDGE] * 4).map(lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3])))
LARGE = EDGES.filter(lambda e: e[2] - e[0] > 0.01 and e[3] - e[1] > 0.01)
OBJECTS = st.lists(st.tuples(LARGE, st.integers(0, 2), st.booleans()), max_size=4)


@pytest.mark.parametrize("form", WRITE)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenes=st.lists(OBJECTS, min_size=1, max_size=3))
def test_round_trips_keep_every_bit(form, scenes, tmp_path_factory):
    """YOLO's shares keep whole pixels and eighths exactly, and other edges to 1e-5 pixels; it has no crowds."""
    folder = tmp_path_factory.mktemp("trip")
    crowd = [np.array([each[2] and form != "yolo" for each in scene], bool) for scene in scenes]
    data = dataset([[each[0] for each in s] for s in scenes], [[each[1] for each in s] for s in scenes], crowd)
    WRITE[form](data, folder)
    equal(data, READ[form](folder, on_bad="refuse"), exact=form != "yolo")


@pytest.mark.parametrize("form", WRITE)
def test_drawn_scenes_come_back_exactly_and_a_second_writing_copies_the_files(form, tmp_path):
    data = draw_shapes(4, side=64, seed=2)
    WRITE[form](data, tmp_path / "one")
    back = READ[form](tmp_path / "one", on_bad="refuse")
    equal(data, back)
    WRITE[form](back, tmp_path / "two")
    files = [sorted(path.read_bytes() for path in (tmp_path / part).rglob("*.png")) for part in ("one", "two")]
    assert files[0] == files[1]
    equal(back, READ[form](tmp_path / "two", on_bad="refuse"))


def test_boxes_follow_images_of_several_sizes_to_one(tmp_path):
    for name, size in {"a": (40, 20), "b": (10, 30)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    images = [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}]
    annotations = [
        {"image_id": 7, "category_id": 5, "bbox": [10, 5, 20, 10], "area": 150},
        {"image_id": 9, "category_id": 3, "bbox": [1, 3, 4, 6], "area": 20, "iscrowd": 1},
    ]
    categories = [{"id": 5, "name": "late"}, {"id": 3, "name": "early"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    data = load(f"coco:{tmp_path / 'a.json'}", scale=None)
    assert (data.input_shape, data.class_names) == ((None, None, 3), ("early", "late"))
    with pytest.raises(DataError, match="differ in size"):
        data[0]
    square = data.prepared((60, 60, 3), None)
    assert square[0][1]["boxes"].tolist() == [[15, 15, 45, 45]]
    assert square[1][1]["boxes"].tolist() == [[6, 6, 30, 18]]
    assert [labels["areas"].tolist() for _, labels in square] == [[150 * 1.5 * 3], [20 * 6 * 2]]
    assert square[1:][0][1]["crowd"].tolist() == [True]
    again = square.prepared((120, 30, 3), None)
    assert again[0][1]["boxes"].tolist() == [[7.5, 30, 22.5, 90]]
    loaded = load(f"coco:{tmp_path / 'a.json'}", size=1, image_shape=(60, 60, 3))
    assert loaded[0][0].shape == (60, 60, 3)
    assert loaded[0][1]["boxes"].tolist() == [[15, 15, 45, 45]]


def coco(folder, **changes):
    """Writes a sound COCO file of two images and three boxes, with changes by name."""
    for name in ("a", "b"):
        Image.new("RGB", (40, 30)).save(folder / f"{name}.png")
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [5, 5, 10, 10]},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 40, 30]},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    for part, place, change in changes.values():
        if place == len(content[part]):
            content[part].append({})
        content[part][place] = content[part][place] | change
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


NAN = float("nan")
FAULTS = {
    "outside": (("annotations", 0, {"bbox": [30, 5, 20, 10]}), "stands outside of the image of 40x30", (1, 1)),
    "left of it": (("annotations", 0, {"bbox": [-5, 5, 10, 10]}), "stands outside of the image", (1, 1)),
    "no area": (("annotations", 0, {"bbox": [3, 5, 0, 10]}), "has no area", (1, 1)),
    "negative": (("annotations", 0, {"bbox": [30, 5, -20, 10]}), "has no area", (1, 1)),
    "no number": (("annotations", 0, {"bbox": [3, 5, NAN, 10]}), "not of finite numbers", (1, 1)),
    "huge": (("annotations", 0, {"bbox": [3, 5, 10**400, 10]}), "not four numbers", (1, 1)),
    "three": (("annotations", 0, {"bbox": [3, 5, 10]}), "not four numbers", (1, 1)),
    "class": (("annotations", 0, {"category_id": 9}), "the class 9 is unknown", (1, 1)),
    "a list": (("annotations", 0, {"category_id": [1]}), "the image 1 is not there", (1, 1)),
    "image": (("annotations", 0, {"image_id": 9}), "the image 9 is not there", (1, 1)),
    "missing": (("images", 1, {"file_name": "c.png"}), r"c.png\): the file is missing", (2,)),
    "doubled": (("images", 2, {"id": 3, "file_name": "a.png"}), "the image is there twice", (2, 1)),
    "doubled id": (("images", 2, {"id": 1, "file_name": "c.png"}), "image 1: the id is there twice", (2, 1)),
    "size": (("images", 1, {"width": 30, "height": 40}), "it has 40x30 pixels, not 30x40", (2,)),
    "up": (("images", 1, {"file_name": "../b.png"}), "leads out of the folder", (2,)),
    "no image": (("images", 1, {"file_name": "a.json"}), "cannot be read: no image", (2,)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_a_line_and_left_out_or_refused(name, tmp_path):
    change, text, counts = FAULTS[name]
    path = coco(tmp_path, change=change)
    with pytest.warns(DataWarning, match=text) as caught:
        data = read_coco(path)
    assert len(caught) == 1
    assert "1 fault in" in str(caught[0].message)
    assert "\n" not in str(caught[0].message)
    assert tuple(data.source.labels["boxes"].lengths) == counts
    with pytest.raises(DataError, match=text):
        read_coco(path, on_bad="refuse")


def test_empty_images_and_crowds_stay_unless_asked(tmp_path):
    path = coco(
        tmp_path, change=("annotations", 2, {"iscrowd": 1}), more=("images", 2, {"id": 3, "file_name": "c.png"})
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_coco(path, on_bad="refuse")
    assert data.source.labels["boxes"].lengths.tolist() == [2, 1, 0]
    with pytest.warns(
        DataWarning, match=r"3 faults in .*b.png: object 1 is a crowd region.*c.png: the image has no object"
    ):
        few = read_coco(path, crowd="skip", empty="skip")
    assert few.source.labels["boxes"].lengths.tolist() == [2]  # b.png holds nothing but its crowd
    with pytest.raises(DataError, match=r"1 fault in .*the image has no object"):
        read_coco(path, empty="refuse")
    with pytest.raises(DataError, match=r"1 fault in .*is a crowd region"):
        read_coco(path, crowd="refuse")
    with pytest.raises(ArgumentError, match="crowd must be one of"):
        read_coco(path, crowd="drop")
    with pytest.raises(ArgumentError, match="on_bad must be one of"):
        read_coco(path, on_bad="drop")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "is no COCO file"),
        ("{", "is no COCO file"),
        ("[]", "list of objects under 'images'"),
        ('{"images": [1], "annotations": [], "categories": []}', "list of objects under 'images'"),
        ('{"images": [], "annotations": []}', "under 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', "must have unlike ids"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', "unlike"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "no image is left"),
    ],
)
def test_what_is_no_coco_file_is_refused(text, match, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=match):
        read_coco(tmp_path / "a.json")


def test_files_beyond_the_limit_and_missing_ones_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"^cannot read .*none.json: No such file or directory\. Check the path\.$"):
        read_coco(tmp_path / "none.json")
    monkeypatch.setattr("kerasdl.data.detection.annotations.LARGEST_FILE", 10)
    monkeypatch.setattr("kerasdl.data.detection.voc.LARGEST_XML", 10)
    for form in ("voc", "yolo"):
        WRITE[form](dataset([[[0, 0, 4, 4]]], [[0]]), tmp_path / form)
    with pytest.warns(DataWarning, match="more than the 10"), pytest.raises(DataError, match="no image is left"):
        read_voc(tmp_path / "voc")


ENTITY = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation><filename>&y;</filename></annotation>'


@pytest.mark.parametrize("text", [ENTITY, LAUGHS, "<annotation>", "<boxes/>", "", ENTITY.encode("utf-16")])
def test_hostile_and_damaged_xml_is_named_and_left_out(text, tmp_path):
    write_voc(dataset([[[0, 0, 4, 4]]], [[0]]), tmp_path)
    path = tmp_path / "Annotations" / "bad.xml"
    path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)
    with pytest.warns(DataWarning, match=r"1 fault in .*bad.xml: no annotation"):
        assert read_voc(tmp_path).size == 1
    with pytest.raises(DataError, match=r"bad.xml"):
        read_voc(tmp_path, on_bad="refuse")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (">40</width>", ">50</width>", "has 40x40 pixels, not 50x40"),
        (">5</xmin>", ">five</xmin>", "bndbox .* is not four numbers"),
        (">5</xmin>", ">inf</xmin>", "not of finite numbers"),
        ("1.png</filename>", "/1.png</filename>", "the file is missing"),
        ("<filename>train_1.png", "<filename>/etc/passwd", "leads out of the folder"),
    ],
)
def test_faults_of_voc_are_named(old, new, text, tmp_path):
    write_voc(dataset([[[4, 4, 9, 9]], [[4, 5, 9, 9]]], [[0], [1]]), tmp_path)
    path = tmp_path / "Annotations" / "train_1.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=text):
        read_voc(tmp_path, on_bad="refuse")
    with pytest.raises(DataError, match="unknown"):
        read_voc(tmp_path, class_names=("other",), on_bad="refuse")


def test_splits_of_voc_and_yolo_share_a_folder(tmp_path):
    parts = {"train": dataset([[[0, 0, 4, 4]], []], [[0], []]), "validation": dataset([[[1, 1, 5, 5]]], [[2]])}
    for split, data in parts.items():
        write_voc(data, tmp_path / "voc", split)
        write_yolo(data, tmp_path / "yolo", split)
    assert [load(f"voc:{tmp_path}/voc", split).size for split in ("train", "val", "all")] == [2, 1, 3]
    yolo = f"yolo:{tmp_path}/yolo/data.yaml"
    assert [load(yolo, split).size for split in ("train", "validation")] == [2, 1]
    assert load(yolo).class_names == NAMES
    for name in (f"voc:{tmp_path}/voc", yolo):
        with pytest.raises(DataError, match="test"):
            load(name, "test")
    with pytest.raises(ArgumentError, match="split must be one of"):
        read_yolo(tmp_path / "yolo" / "data.yaml", "all")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 0.5 0.5 0.2", "must have 5 numbers"),
        ("0 0.5 0.5 0.2 x", "is not numbers"),
        ("3 0.5 0.5 0.2 0.2", "class 3 is unknown"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is unknown"),
        ("0 0.9 0.5 0.4 0.2", "stands outside"),
        ("0 0.5 0.5 0 0.2", "has no area"),
        ("0 nan 0.5 0.2 0.2", "not of finite numbers"),
    ],
)
def test_faults_of_yolo_are_named(line, text, tmp_path):
    write_yolo(dataset([[[0, 0, 4, 4]]], [[0]]), tmp_path)
    (tmp_path / "labels" / "train" / "1.txt").write_text(f"1 0.25 0.25 0.5 0.5\n\n{line}\n")
    with pytest.raises(DataError, match=f"1.txt, line 3: .*{text}"):
        read_yolo(tmp_path / "data.yaml", on_bad="refuse")
    with pytest.warns(DataWarning, match=text):
        assert read_yolo(tmp_path / "data.yaml")[0][1]["boxes"].tolist() == [[0, 0, 20, 20]]


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("names: [a]", "names no images of split 'train'"),
        ("names: [a, a]\ntrain: images/train", "must be a list of unlike names"),
        ("names: {1: a}\ntrain: images/train", "must be a list of unlike names"),
        ("names: [a]\ntrain: ../images", "leads out of its folder. Pass images="),
        ("path: /data\nnames: [a]\ntrain: images", "leads out of its folder. Pass images="),
        ("names: [a]\ntrain: pictures", "is no folder"),
        ("- a", "must hold names, train and val"),
        ("a: &a [x, x]\nnames: [*a, *a]\ntrain: images/train", "unlike names, .*; got list"),
        ("names: [a]\ntrain: [[images]]", "names list, which leads out"),
        ("names: !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_a_faulty_data_yaml_is_refused(yaml, text, tmp_path):
    write_yolo(dataset([[[0, 0, 4, 4]]], [[0]]), tmp_path)
    (tmp_path / "data.yaml").write_text(yaml)
    with pytest.raises(DataError, match=text):
        read_yolo(tmp_path / "data.yaml")


def test_data_yaml_takes_lists_of_files_polygons_and_a_folder_by_images(tmp_path):
    write_yolo(dataset([[[0, 0, 4, 4]], [[0, 0, 8, 8]]], [[0], [1]]), tmp_path)
    (tmp_path / "data.yaml").write_text("path: /elsewhere\nnames: {0: a, 1: b}\ntrain: list.txt\n")
    (tmp_path / "list.txt").write_text("images/train/2.png\n")
    (tmp_path / "labels" / "train" / "2.txt").write_text("1 0.1 0.2 0.5 0.3 0.3 0.8\n")
    data = read_yolo(tmp_path / "data.yaml", images=tmp_path)
    assert (data.size, data.class_names) == (1, ("a", "b"))
    np.testing.assert_allclose(data[0][1]["boxes"], [[4, 8, 20, 32]])


def test_what_cannot_be_written_is_refused(tmp_path):
    crowd = dataset([[[0, 0, 4, 4]]], [[0]], [np.array([True])])
    with pytest.raises(ArgumentError, match="YOLO has no crowd regions"):
        write_yolo(crowd, tmp_path)
    for data in (load("digits").take(2), load("iris").take(2)):
        with pytest.raises(ArgumentError, match="only raw images with boxes and classes"):
            write_coco(data, tmp_path / "a.json", tmp_path)


def labelme(folder, *shapes, **more):
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    entries = [{"label": label, "shape_type": form, "points": points} for label, form, points in shapes]
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": entries, **more}))


def test_forms_of_labelme_give_the_boxes_around_them(tmp_path):
    labelme(
        tmp_path,
        ("dog", "rectangle", [[20, 15], [5, 2]]),
        ("cat", "polygon", [[1, 2], [9, 3], [4, 8.5]]),
        ("cat", "circle", [[20, 15], [23, 19]]),
    )
    data = load(f"labelme:{tmp_path}", scale=None)
    assert data.class_names == ("cat", "dog")
    image, labels = data[0]
    assert image.shape == (30, 40, 3)
    assert labels["classes"].tolist() == [1, 0, 0]
    assert labels["boxes"].tolist() == [[5, 2, 20, 15], [1, 2, 9, 8.5], [15, 10, 25, 20]]


@pytest.mark.parametrize(
    ("form", "points", "text"),
    [
        ("line", [[1, 2], [3, 4]], "a 'line' has no area"),
        ("polygon", [[1, 2], [3, 4]], "are not those of a polygon"),
        ("rectangle", [[1, 2], [3, "x"]], "are not those of a rectangle"),
        ("rectangle", None, "are not those of a rectangle"),
        (["polygon"], [[1, 2], [3, 4]], "has no area"),
        ("rectangle", [[1, 2], [70, 4]], "stands outside"),
    ],
)
def test_faults_of_labelme_are_named(form, points, text, tmp_path):
    labelme(tmp_path, ("cat", form, points))
    with pytest.raises(DataError, match=f"a.json, shape 1: .*{text}"):
        read_labelme(tmp_path, on_bad="refuse")
    with pytest.warns(DataWarning, match=text):
        assert len(read_labelme(tmp_path)[0][1]["boxes"]) == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"imagePath": "..\\a.png"}, "leads out of the folder"),
        ({"imageHeight": 9, "imageWidth": 9}, "has .* pixels, not"),
        ({"shapes": 3}, "must hold a list of shapes"),
    ],
)
def test_files_of_labelme_that_do_not_fit_are_named(more, text, tmp_path):
    labelme(tmp_path, **more)
    with pytest.raises(DataError, match=text):
        read_labelme(tmp_path, on_bad="refuse")
    with pytest.raises(DataError, match="holds no JSON files"):
        read_labelme(tmp_path / "none")


@pytest.mark.parametrize(
    "name", ["/a.png", "../a.png", "b/../../a.png", "c:\\a.png", "\\\\host\\a.png", "a\0.png", "", 3]
)
def test_names_that_lead_out_are_refused(name):
    assert inner_path(Path("folder"), name) is None
    assert inner_path(Path("folder"), "b\\a.png") == Path("folder/b/a.png")


def test_sizes_are_those_of_upright_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size(tmp_path / "a.jpg") == (40, 30)
    Image.new("RGB", (40, 30)).save(tmp_path / "b.jpg")
    assert upright_size(tmp_path / "b.jpg") == (30, 40)


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("digits", {"images": "."}, "images is for coco"),
        ("coco:a.json", {"split": "test"}, "split of coco:a.json, which has none, must be one of"),
    ],
)
def test_settings_that_do_not_fit_the_name_are_refused(name, settings, text):
    with pytest.raises(ArgumentError, match=text):
        load(name, **settings)


def test_shapes_load_by_name():
    data = load("shapes:hard", "test", size=2, image_shape=(48, 48, 3), seed=4)
    equal(data.prepared(None, None), draw_shapes(2, split="test", seed=4, difficulty="hard", side=48))
    assert data.name == "shapes:hard"
    assert load("shapes", size=1, image_shape=(32, 64, 1)).input_shape == (32, 64, 1)
