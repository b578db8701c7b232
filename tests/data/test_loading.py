"""Built-in data by name: fixed splits, standardised tables, refusals that help."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from kerasdl.cli.application import data_name
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import DataWarning, as_dataset, list_datasets, load
from kerasdl.data.builtin.tabular import TABLES
from kerasdl.data.listing import dataset_name
from kerasdl.data.splits import SPLITS, stratified_split

TOTALS = {"digits": 1797, "iris": 150, "breast_cancer": 569, "wine": 178, "diabetes": 442}
SIZES = {
    "digits": (1078, 360, 359),
    "iris": (90, 30, 30),
    "breast_cancer": (341, 115, 113),
    "wine": (107, 35, 36),
    "diabetes": (265, 89, 88),
}


def labels_of(name):
    target = getattr(datasets, f"load_{name}")().target
    return np.zeros(len(target)) if name == "diabetes" else target


@pytest.mark.parametrize("name", TOTALS)
def test_splits_are_disjoint_complete_and_stratified(name):
    labels = labels_of(name)
    parts = [stratified_split(labels, split) for split in SPLITS]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(TOTALS[name]))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        for label in np.unique(labels):
            assert abs(np.sum(labels[part] == label) - share * np.sum(labels == label)) <= 1


@pytest.mark.parametrize("name", TOTALS)
def test_sizes_stand(name):
    assert tuple(load(name, split).size for split in SPLITS) == SIZES[name]


def test_splits_never_change():
    """Figures in bundles and documents rest on these very indices."""
    firsts = [stratified_split(labels_of("digits"), split)[:4].tolist() for split in SPLITS]
    assert firsts == [[142, 1674, 697, 814], [1066, 1011, 968, 638], [651, 304, 718, 1006]]


def test_digits_are_those_of_scikit_learn():
    found = datasets.load_digits()
    for split in SPLITS:
        images, labels = load("digits", split, image_shape=(8, 8, 1), scale=(0, 16)).arrays()
        indices = stratified_split(found.target, split)
        np.testing.assert_allclose(images[..., 0], found.images[indices], atol=0.04)
        np.testing.assert_array_equal(labels, found.target[indices])


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_standardised_by_the_train_split(name):
    inputs, _ = load(name).arrays()
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=0), 1, atol=1e-5)
    raw = getattr(datasets, f"load_{name}")()
    test = load(name, "test")
    indices = stratified_split(labels_of(name), "test")
    back = test.arrays()[0] * np.array(test.feature_std) + np.array(test.feature_mean)
    np.testing.assert_allclose(back, raw.data[indices], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(test.arrays()[1], raw.target[indices])
    assert test.arrays()[1].dtype == (np.float32 if name == "diabetes" else np.int32)
    assert test.feature_names == tuple(raw.feature_names)


def test_size_takes_the_first():
    small, whole = load("digits", size=12).arrays(), load("digits").arrays()
    np.testing.assert_array_equal(small[0], whole[0][:12])
    assert len(np.unique(load("digits", size=60).arrays()[1])) == 10


def test_every_listed_dataset_loads():
    names = [entry.name for entry in list_datasets() if ":" not in entry.name]
    assert len(names) == 30
    for name in names:
        dataset = load(name, "test", size=20)
        assert dataset.size == 20
        assert dataset.licence == next(entry.licence for entry in list_datasets() if entry.name == name)


@pytest.mark.parametrize(
    ("name", "near"), [("digit", "'digits'"), ("breast-cancer", "'breast_cancer'"), ("folder", "'folder:PATH'")]
)
def test_unknown_names_name_their_neighbours(name, near):
    with pytest.raises(UnknownNameError, match=f"Did you mean .*{near}"):
        load(name)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "digits", "split": "exam"}, "split must be one of"),
        ({"name": "iris", "image_shape": (8, 8, 1)}, "image_shape is for images only"),
        ({"name": "digits", "image_shape": (8, 8)}, "image_shape must be"),
        ({"name": "digits", "image_shape": (8, 8, 2)}, "channels of image_shape"),
        ({"name": "digits", "on_bad": "ignore"}, "on_bad must be one of"),
        ({"name": "digits", "size": 0}, "size must be"),
        ({"name": "digits", "size": 5000}, "at most 1078"),
        ({"name": "digits", "data_dir": "/tmp"}, "data_dir is for tfds"),
        ({"name": "glyphs", "seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        load(**arguments)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of two classes with four images each in the current folder."""
    for label in ("cat", "dog"):
        for number in range(4):
            (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.mark.filterwarnings("ignore::kerasdl.data.DataWarning")
def test_a_folder_is_data_as_a_path_or_as_a_text_that_is_no_name(photos):
    expected = load("folder:photos", "all").size
    assert expected == 8
    assert load(photos, "all").size == load("photos", "all").size == load("photos/", "all").size == expected
    (photos.parent / "digits").mkdir()
    assert load("digits", "test").name == "digits"  # a known name is that data set
    with pytest.raises(UnknownNameError, match=r"\? No folder 'pictures' is here\. Known are digits"):
        load("pictures")
    with pytest.raises(UnknownNameError, match=r"^unknown dataset or folder 'pictures/'\. No folder stands"):
        load("pictures/")


@pytest.mark.filterwarnings("ignore::kerasdl.data.DataWarning")
def test_val_and_valid_are_names_of_the_validation_split(photos):
    assert load("iris", "val").size == load("iris", "valid").size == load("iris", "validation").size == 30
    assert load(photos, "val").size == load(photos, "validation").size == 2


def test_examples_are_counted_indexed_and_iterated():
    data = load("digits", "test")
    images, labels = data.arrays()
    assert len(data) == data.size == 359
    np.testing.assert_array_equal(data[3][0], images[3])
    assert data[-1][1] == labels[-1]
    part = data[10:20:2]
    np.testing.assert_array_equal(part.arrays()[1], labels[10:20:2])
    assert [int(label) for _, label in part] == labels[10:20:2].tolist()
    with pytest.raises(IndexError, match="there is no number 359"):
        data[359]
    endless = as_dataset(tf.data.Dataset.from_tensors(np.zeros((2, 4), np.float32)).repeat())
    assert bool(endless)
    with pytest.raises(TypeError, match="does not tell how many"):
        len(endless)
    with pytest.raises(ArgumentError, match="examples by number"):
        endless[0]


def test_a_pipeline_of_whole_numbers_has_a_task_and_the_class_names_of_its_folders(photos):
    pipeline = keras.utils.image_dataset_from_directory(photos, image_size=(8, 8), verbose=False)
    assert (as_dataset(pipeline).task, as_dataset(pipeline).class_names) == ("image_classification", ("cat", "dog"))
    rows = tf.data.Dataset.from_tensor_slices((np.zeros((6, 4), np.float32), np.arange(6))).batch(2)
    assert as_dataset(rows).task == "tabular_classification"
    figures = tf.data.Dataset.from_tensor_slices((np.zeros((6, 4), np.float32), np.zeros(6, np.float32))).batch(2)
    assert as_dataset(figures).task == as_dataset(rows.map(lambda x, y: x)).task == "unknown"


def test_a_folder_with_the_name_of_a_dataset_needs_a_slash(tmp_path, monkeypatch):
    """The rule is one for Python and the command line: the dataset is read, and the folder is named."""
    monkeypatch.chdir(tmp_path)
    for level, label in enumerate(("a", "b")):
        (tmp_path / "digits" / label).mkdir(parents=True)
        Image.fromarray(np.full((9, 9), level, "uint8")).save(tmp_path / "digits" / label / "0.png")
    for name_of in (dataset_name, data_name):
        with pytest.warns(DataWarning, match="'digits' is the embedded dataset, .* pass './digits' for the folder"):
            assert name_of("digits") == "digits"
        assert name_of("./digits") == "folder:./digits"
        assert name_of("digits/") == "folder:digits/"
    with pytest.warns(DataWarning, match="is the embedded dataset"):
        assert load("digits", "test").size == SIZES["digits"][2]
    assert load("./digits", "all").size == load(tmp_path / "digits", "all").size == 2
