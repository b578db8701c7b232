"""Coverage of modes on points whose answer is known, and the data of the benchmark."""

import numpy as np
import pytest
from scipy.stats import chi2

from kerasdl.core.errors import ArgumentError
from kerasdl.generative import eight_gaussians, gaussian_centres, mode_coverage


def test_the_data_themselves_cover_all_modes():
    points = eight_gaussians(20_000, seed=1)
    found = mode_coverage(points, gaussian_centres(), least=2000)
    assert found.covered == found.modes == 8
    assert found.high_quality == pytest.approx(chi2.cdf(9, 2), abs=3e-3)  # 0.989
    assert str(found).startswith("8 of 8 modes, 98.")
    np.testing.assert_allclose(np.hypot(*gaussian_centres().T), 2.0, rtol=1e-6)
    assert not np.array_equal(eight_gaussians(9, 0), eight_gaussians(9, 1))
    np.testing.assert_array_equal(eight_gaussians(9, 0), eight_gaussians(9, 0))


def test_collapsed_samples_cover_few():
    centres = gaussian_centres()
    one = mode_coverage(np.repeat(centres[:1], 50, axis=0), centres)
    assert (one.covered, one.high_quality, one.counts) == (1, 1.0, (50, 0, 0, 0, 0, 0, 0, 0))
    none = mode_coverage(np.zeros((9, 2)), centres)
    assert (none.covered, none.high_quality) == (0, 0.0)
    edge = centres[:1] * (1 + np.array([[0.149], [0.151]]))  # 2.98 and 3.02 deviations away
    assert mode_coverage(edge, centres).counts[0] == 1
    assert mode_coverage(edge, centres, least=2).covered == 0
    assert mode_coverage(edge, centres, radius=4.0, least=2).covered == 1


@pytest.mark.parametrize(
    ("samples", "settings", "said"),
    [
        (np.zeros((3, 3)), {}, "rows of as many numbers"),
        (np.zeros((0, 2)), {}, "one or more, and finite"),
        (np.full((3, 2), np.nan), {}, "one or more, and finite"),
        (np.zeros((3, 2)), {"deviation": 0.0}, "deviation must be"),
        (np.zeros((3, 2)), {"least": 0}, "least must be"),
    ],
)
def test_what_has_no_coverage_is_refused(samples, settings, said):
    with pytest.raises(ArgumentError, match=said):
        mode_coverage(samples, gaussian_centres(), **settings)
