"""RegionsToBatch and BatchToRegions: order of the regions, known and free numbers of them, and through a save."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import BatchToRegions, RegionsToBatch

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [3, None])
def test_a_convolution_runs_on_each_region_by_itself(count, tmp_path):
    regions = keras.Input((count, 4, 5, 2))
    folded = keras.layers.Conv2D(6, 3, padding="same")(RegionsToBatch()(regions))
    model = keras.Model(regions, BatchToRegions()([folded, regions]))
    x = RNG.normal(size=(2, 3, 4, 5, 2)).astype("float32")
    out = np.asarray(model(x))
    assert out.shape == (2, 3, 4, 5, 6)
    for image, region in np.ndindex(2, 3):
        expected = model.layers[2](x[image, region][None])[0]
        np.testing.assert_allclose(out[image, region], expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), out)


@pytest.mark.parametrize(
    "call",
    [
        lambda: RegionsToBatch()(keras.Input((4,))),
        lambda: RegionsToBatch()(keras.Input((3, None, 4))),
        lambda: BatchToRegions()([keras.Input((None, 4)), keras.Input((3, 4))]),
    ],
)
def test_unknown_sides_are_refused(call):
    with pytest.raises(ArgumentError, match="features of regions must"):
        call()
