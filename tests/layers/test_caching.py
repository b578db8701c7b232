"""Cache of a decoder: one place of each row written, places seen up to a position, equal after a save."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import CachePlaces, CacheWrite


def test_each_row_is_written_at_its_own_position_and_nowhere_behind_the_last(tmp_path):
    rng = np.random.default_rng(0)
    cache, entry = (rng.normal(size=shape).astype("float32") for shape in ((3, 4, 2, 5), (3, 1, 2, 5)))
    position = np.array([1, 3, 4], "int32")
    inputs = [keras.Input(each.shape[1:], dtype=each.dtype.name) for each in (cache, entry, position)]
    model = keras.Model(inputs, CacheWrite()(inputs))
    expected = cache.copy()
    expected[0, 1], expected[1, 3] = entry[0, 0], entry[1, 0]
    np.testing.assert_array_equal(model([cache, entry, position]), expected)
    model.save(tmp_path / "cache.keras")
    again = keras.models.load_model(tmp_path / "cache.keras")
    np.testing.assert_array_equal(again([cache, entry, position]), expected)


def test_places_up_to_the_position_are_seen(tmp_path):
    position = keras.Input((), dtype="int32")
    model = keras.Model(position, CachePlaces(3)(position))
    model.save(tmp_path / "places.keras")
    for each in (model, keras.models.load_model(tmp_path / "places.keras")):
        places, seen = each(np.array([0, 2], "int32"))
        np.testing.assert_array_equal(places, [[0, 1, 2], [0, 1, 2]])
        np.testing.assert_array_equal(seen, [[True, False, False], [True, True, True]])
        assert [tensor.dtype for tensor in each.outputs] == ["int32", "bool"]
    with pytest.raises(ArgumentError, match="places must"):
        CachePlaces(0)
