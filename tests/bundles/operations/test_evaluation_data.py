"""Choice of the images of an evaluation, by the hashes of those that a bundle was fine-tuned on."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kerasdl.bundles import choose_evaluation_data
from kerasdl.bundles.operations.evaluation_data import unseen_data
from kerasdl.bundles.operations.trained_images import BYTES, ROLE, recorded, trained_hashes
from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import load
from kerasdl.data.detection import draw_shapes, write_coco, write_voc, write_yolo
from kerasdl.data.segmentation import draw_cells, write_masks

RNG = np.random.default_rng(3)


def fill(root, *folders, count=10):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            Image.fromarray(RNG.integers(0, 256, (6, 6, 3), np.uint8)).save(root / folder / f"{k}.png")
    return f"folder:{root}"


def bundle(*trained):
    extra = recorded({}, *trained) if trained else {}
    return SimpleNamespace(preprocess={}, extra=extra, task=None)


def files(data):
    return {str(path) for path in data.source.inputs}


def test_a_folder_without_splits_is_measured_whole(tmp_path):
    chosen = choose_evaluation_data(bundle(), fill(tmp_path, "cat", "dog"))
    assert (chosen.split, chosen.dataset.size, chosen.left_out, chosen.notes) == ("all", 20, 0, ())
    for path in (tmp_path, str(tmp_path)):  # a folder as load may be given it too
        again = choose_evaluation_data(bundle(), path)
        assert (again.split, again.dataset.size) == ("all", 20)


def test_the_images_of_the_training_are_left_out_wherever_they_lie_now(tmp_path):
    name = fill(tmp_path / "photos", "cat", "dog")
    tuned = bundle(load(name, "train"), load(name, "validation"))
    chosen = choose_evaluation_data(tuned, name)
    assert files(chosen.dataset) == files(load(name, "test"))
    assert chosen.left_out == 18
    assert chosen.found == 20
    assert "18 of 20 images were left out" in chosen.notes[0]
    for k, file in enumerate((tmp_path / "photos").rglob("*.png")):
        home = tmp_path / "copied" / file.parent.name
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, home / f"other{k}.png")
    again = choose_evaluation_data(tuned, f"folder:{tmp_path / 'copied'}")
    assert (again.dataset.size, again.left_out) == (2, 18)


def test_a_folder_never_learnt_from_is_whole_for_other_uses(tmp_path):
    name, other = fill(tmp_path / "photos", "cat", "dog"), fill(tmp_path / "other", "cat", "dog", count=4)
    tuned = bundle(load(name, "train"), load(name, "validation"))
    assert unseen_data(tuned, other).size == 8
    assert unseen_data(tuned, tmp_path / "other").size == 8
    assert unseen_data(tuned, name) is None
    assert unseen_data(bundle(), name).size == 20
    shutil.copy(load(name, "train").source.inputs[0], tmp_path / "other" / "cat" / "again.png")
    assert unseen_data(tuned, other) is None
    parts = fill(tmp_path / "parts", "train/cat", "train/dog", "test/cat", "test/dog", count=3)
    assert {file.split("/")[-3] for file in files(unseen_data(tuned, parts))} == {"train"}
    fill(tmp_path / "parts", "val/cat", "val/dog", count=1)
    assert unseen_data(tuned, parts) is None


def test_boxes_are_measured_by_the_splits_that_they_name(tmp_path):
    scenes = draw_shapes(4, side=32)
    write_coco(scenes, tmp_path / "a.json", tmp_path / "images")
    write_yolo(scenes, tmp_path / "yolo")
    write_yolo(draw_shapes(2, side=32, seed=1), tmp_path / "yolo", "validation")
    write_voc(scenes, tmp_path / "voc")
    coco = load(f"coco:{tmp_path}/a.json")
    chosen = choose_evaluation_data(bundle(coco.take(1), None), f"coco:{tmp_path}/a.json")
    assert (chosen.split, chosen.dataset.size, chosen.left_out) == ("all", 3, 1)
    chosen = choose_evaluation_data(bundle(), f"yolo:{tmp_path}/yolo/data.yaml")
    assert (chosen.split, chosen.dataset.size) == ("validation", 2)
    assert "There is no test split; validation images" in chosen.notes[0]
    assert choose_evaluation_data(bundle(), f"voc:{tmp_path}/voc").split == "train"


def test_folders_of_masks_are_measured_whole_less_those_of_the_training(tmp_path):
    write_masks(draw_cells(10, side=32, weights=False), tmp_path / "cells")
    write_masks(draw_cells(4, side=32, weights=False, seed=1), tmp_path / "others")
    name, others = f"masks:{tmp_path / 'cells'}", f"masks:{tmp_path / 'others'}"
    tuned = bundle(load(name, "train"), load(name, "validation"))
    chosen = choose_evaluation_data(tuned, name)
    assert files(chosen.dataset) == files(load(name, "test"))
    assert chosen.left_out == 9
    chosen = choose_evaluation_data(tuned, others)
    assert (chosen.split, chosen.dataset.size, chosen.left_out) == ("all", 4, 0)
    for seed, split in enumerate(("train", "test")):
        write_masks(draw_cells(2 + seed, side=32, weights=False, seed=seed), tmp_path / "parts", split)
    assert choose_evaluation_data(tuned, f"masks:{tmp_path / 'parts'}").dataset.size == 3


def write_texts(root, kind, numbers):
    """Writes two texts a number, as a table of rows or as a folder of files."""
    texts = {label: [f"{word} film number {k}" for k in numbers] for label, word in (("bad", "dull"), ("good", "fine"))}
    if kind == "folder":
        for label, lines in texts.items():
            (root / label).mkdir(parents=True)
            for k, line in enumerate(lines):
                (root / label / f"{k}.txt").write_text(line)
        return f"folder:{root}"
    rows = [{"text": line, "label": label} for label, lines in texts.items() for line in lines]
    lines = [json.dumps(row) for row in rows] if kind == "jsonl" else [f"{row['text']},{row['label']}" for row in rows]
    root.write_text("\n".join([*([] if kind == "jsonl" else ["text,label"]), *lines]))
    return f"{kind}:{root}"


@pytest.mark.parametrize("kind", ["folder", "csv", "jsonl"])
def test_texts_are_measured_whole_less_those_of_the_training(tmp_path, kind):
    """By their words, so that a copy in another file, in capitals, is known."""
    name, other = write_texts(tmp_path / "own", kind, range(10)), write_texts(tmp_path / "other", "csv", range(5, 15))
    tuned = bundle(load(name, "train"), load(name, "validation"))
    chosen = choose_evaluation_data(tuned, name)
    assert {*chosen.dataset.source.inputs} == {*load(name, "test").source.inputs}
    assert (chosen.found, chosen.left_out) == (20, 18)
    assert "18 of 20 texts were left out" in chosen.notes[0]
    chosen = choose_evaluation_data(tuned, other)
    learnt = {*load(name, "train").source.inputs, *load(name, "validation").source.inputs}
    assert {*chosen.dataset.source.inputs} == {*load(other, "all").source.inputs} - learnt
    assert unseen_data(tuned, name) is None
    if kind != "folder":  # a bundle without a record of its texts, such as one of an earlier version
        assert choose_evaluation_data(bundle(), name).split == "test"


def test_a_split_that_is_named_is_measured_whole_and_says_so(tmp_path):
    name = fill(tmp_path, "cat", "dog")
    chosen = choose_evaluation_data(bundle(load(name, "train"), load(name, "validation")), name, "all")
    assert (chosen.dataset.size, chosen.left_out) == (20, 0)
    assert "18 of these images are among those of the training" in chosen.notes[0]


def test_a_folder_that_was_all_learnt_is_refused(tmp_path):
    name = fill(tmp_path, "cat", "dog", count=2)
    with pytest.raises(DataError, match=r"all are \(4\). Give other images, or split 'all'"):
        choose_evaluation_data(bundle(load(name, "all"), None), name)


@pytest.mark.parametrize(
    ("homes", "split", "note"),
    [
        (("train", "test"), "test", None),
        (("Training", "Testing"), "test", None),
        (("train", "valid", "test"), "test", None),
        (("train", "val"), "validation", "There is no test split"),
        (("outer/train", "outer/test"), "test", None),
    ],
)
def test_folders_of_splits_decide(tmp_path, homes, split, note):
    name = fill(tmp_path, *(f"{home}/{label}" for home in homes for label in ("cat", "dog")), count=2)
    chosen = choose_evaluation_data(bundle(), name)
    assert (chosen.split, chosen.dataset.size) == (split, 4)
    assert files(chosen.dataset) == files(load(name, split))
    assert (note in chosen.notes[0]) if note else not chosen.notes


def test_other_data_are_measured_on_their_test_split():
    chosen = choose_evaluation_data(bundle(), "digits")
    assert (chosen.split, chosen.dataset.size) == ("test", 359)
    assert choose_evaluation_data(bundle(), "digits", "train").dataset.size == 1078


def test_hashes_are_short_sorted_and_kept_from_training_to_training(tmp_path):
    first, second = fill(tmp_path / "a", "cat", "dog", count=3), fill(tmp_path / "b", "cat", "dog", count=3)
    extra = recorded({"tokenizer": b"x"}, load(first, "all"), None)
    both = recorded(extra, load(second, "all"), None)
    assert both["tokenizer"] == b"x"
    assert len(both[ROLE]) == 12 * BYTES
    assert set(trained_hashes(extra)) < set(trained_hashes(both))
    assert (np.diff(trained_hashes(both).astype(object)) > 0).all()
    with pytest.raises(ArgumentError, match="must hold hashes of 8 bytes"):
        trained_hashes({ROLE: b"123"})


def test_data_that_are_no_files_leave_no_hashes():
    assert recorded({}, load("digits"), None) == {}


def test_tagged_sentences_are_measured_whole_less_those_of_the_training(tmp_path):
    (tmp_path / "first.conll").write_text("Ada B-PER\nsings O\n\nBo B-PER\nruns O\n")
    (tmp_path / "more.conll").write_text("Bo B-PER\nruns O\n\nCy B-PER\nsits O\n\nDi B-PER\nsees O\n")
    trained = bundle(load(f"conll:{tmp_path / 'first.conll'}"), None)
    chosen = choose_evaluation_data(trained, f"conll:{tmp_path / 'more.conll'}")
    assert (chosen.split, chosen.left_out) == ("all", 1)
    assert chosen.dataset.source.inputs.tolist() == ["Cy sits", "Di sees"]
    assert choose_evaluation_data(bundle(), f"conll:{tmp_path / 'more.conll'}").dataset.size == 3
    with pytest.raises(DataError, match="all are"):
        choose_evaluation_data(trained, f"conll:{tmp_path / 'first.conll'}")
