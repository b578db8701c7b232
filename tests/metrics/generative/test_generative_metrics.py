"""Metrics of generated samples against closed forms of normal distributions, loops by hand, and SciPy's root."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from kerasdl import metrics
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)


def filled(metric, real, made, parts=1):
    for side, samples in (("real", real), ("generated", made)):
        for part in np.array_split(samples, parts):
            metric.update_state(part, side)
    return metric


def spread(size, seed):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T / size


@pytest.mark.parametrize("size", [1, 2, 20])
def test_the_distance_of_normal_distributions_has_its_closed_form(size):
    first, second = spread(size, 1), spread(size, 2)
    shift = np.linspace(-1, 1, size)
    root = scipy.linalg.sqrtm(first @ second)
    wanted = shift @ shift + np.trace(first + second - 2 * np.real(root))
    assert metrics.frechet_distance(np.zeros(size), first, shift, second) == pytest.approx(wanted, rel=1e-6)
    assert metrics.frechet_distance(shift, first, shift, first) == pytest.approx(0, abs=1e-9)
    scales = np.arange(1.0, size + 1)  # that commute: the sum of squared differences of deviations
    diagonal = metrics.frechet_distance(shift, np.diag(scales**2), shift, np.eye(size))
    assert diagonal == pytest.approx(((scales - 1) ** 2).sum())


@pytest.mark.parametrize("parts", [1, 7])
def test_the_distance_of_samples_is_that_of_their_moments_however_they_come(parts):
    real, made = RNG.normal(size=(200, 5)), 1e4 + RNG.normal(size=(90, 5)) @ RNG.normal(size=(5, 5))
    distance = filled(metrics.FrechetDistance(), real, made, parts)
    moments = [(each.mean(axis=0), np.cov(each.T)) for each in (real, made)]
    assert distance.result() == pytest.approx(metrics.frechet_distance(*moments[0], *moments[1]), rel=1e-9)
    assert distance.name == "frechet@90"


def test_singular_and_constant_features_have_a_distance():
    line = np.outer(np.arange(30.0), np.ones(4))
    assert filled(metrics.FrechetDistance(), line, line).result() == pytest.approx(0, abs=1e-6)
    assert filled(metrics.FrechetDistance(), np.zeros((5, 3)), np.ones((5, 3))).result() == pytest.approx(3.0)


def test_the_kernel_distance_is_its_sum_over_pairs():
    real, made = RNG.normal(size=(7, 3)), RNG.normal(size=(9, 3)) + 1.0

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    distance = filled(metrics.KernelDistance(subsets=1, size=7), real, made[:7])
    within = [
        np.mean([kernel(x, y) for a, x in enumerate(each) for b, y in enumerate(each) if a != b])
        for each in (real, made[:7])
    ]
    across = np.mean([kernel(x, y) for x in real for y in made[:7]])
    assert distance.result().mean == pytest.approx(sum(within) - 2 * across)
    assert filled(metrics.KernelDistance(), real, made).result().size == 7


def test_the_kernel_distance_does_not_depend_on_the_number_and_frechet_does():
    figures = {}
    for count in (40, 640):
        pairs = [(RNG.normal(size=(count, 8)), RNG.normal(size=(count, 8))) for _ in range(20)]
        kernels = [filled(metrics.KernelDistance(subsets=1), *pair).result().mean for pair in pairs]
        frechet = [filled(metrics.FrechetDistance(), *pair).result() for pair in pairs]
        figures[count] = np.mean(kernels), np.std(kernels) / 20**0.5, np.mean(frechet)
        assert abs(figures[count][0]) < 4 * figures[count][1]
    assert figures[40][2] > 5 * figures[640][2]


def test_sliced_distances_are_those_of_one_dimension():
    first, second = RNG.normal(size=(50, 1)), RNG.normal(size=(50, 1)) + 2.0
    wanted = np.sqrt(((np.sort(first, axis=0) - np.sort(second, axis=0)) ** 2).mean())
    assert metrics.sliced_wasserstein(first, second) == pytest.approx(wanted)
    doubled = np.repeat(first, 3, axis=0)
    assert metrics.sliced_wasserstein(first, doubled) == pytest.approx(0, abs=1e-9)
    shift = np.array([3.0, 0.0])
    plane = RNG.normal(size=(60, 2))
    given = metrics.sliced_wasserstein(plane, plane + shift, projections=20_000)
    assert given == pytest.approx(3.0 / 2**0.5, rel=0.02)


def test_scores_are_by_hand():
    scores = RNG.dirichlet(np.ones(4), size=30)
    metric = metrics.InceptionScore(from_logits=False, splits=3)
    metric.update_state(scores)
    wanted = [
        np.exp(np.mean([scipy.stats.entropy(p, part.mean(axis=0)) for p in part])) for part in np.split(scores, 3)
    ]
    assert metric.result().mean == pytest.approx(np.mean(wanted))
    assert metric.result().deviation == pytest.approx(np.std(wanted))
    logits = metrics.InceptionScore(splits=1)
    with pytest.raises(ArgumentError, match="logits must be given"):
        logits.update_state(np.full((4, 5), 0.2))
    logits.update_state(np.log(scores[:15]) + 5.0)
    logits.update_state(np.log(scores[15:]) - 2.0)
    plain = metrics.InceptionScore(from_logits=False, splits=1)
    plain.update_state(scores)
    assert logits.result().mean == pytest.approx(plain.result().mean)
    one = metrics.InceptionScore(from_logits=False, splits=1)
    one.update_state(np.tile([[0.0, 1.0]], (5, 1)))
    assert one.result().mean == pytest.approx(1.0)


def test_manifolds_are_by_hand():
    real, made, k = RNG.normal(size=(25, 3)), RNG.normal(size=(20, 3)) * 1.5, 3
    given = filled(metrics.Manifold(neighbours=k), real, made).result()

    def reach(points):
        return [sorted(np.linalg.norm(points - each, axis=1))[k] for each in points]

    inside = np.array([[np.linalg.norm(r - m) <= far for m in made] for r, far in zip(real, reach(real), strict=True)])
    seen = np.array([[np.linalg.norm(r - m) <= far for m, far in zip(made, reach(made), strict=True)] for r in real])
    assert given.precision == pytest.approx(inside.any(axis=0).mean())
    assert given.recall == pytest.approx(seen.any(axis=1).mean())
    assert given.density == pytest.approx(inside.sum() / k / len(made))
    assert given.coverage == pytest.approx(inside.any(axis=1).mean())


def test_collapse_is_seen_in_recall_and_coverage_and_copies_in_memorisation():
    real, same = RNG.normal(size=(400, 2)), RNG.normal(size=(400, 2))
    collapsed = np.tile([[0.1, 0.1]], (400, 1)) + 0.01 * RNG.normal(size=(400, 2))
    good, bad = (filled(metrics.Manifold(), real, each).result() for each in (same, collapsed))
    assert min(good) > 0.8
    assert bad.precision > 0.9
    assert max(bad.recall, bad.coverage) < 0.2
    held_out = RNG.normal(size=(400, 2))
    assert metrics.memorised_share(same, real, held_out) < 0.06
    mixed = np.concatenate([real[:200] + 1e-6, same[:200]])
    assert metrics.memorised_share(mixed, real, held_out) == pytest.approx(0.5, abs=0.06)


def test_a_network_makes_the_features():
    def doubled(samples):
        return 2.0 * samples.reshape(len(samples), -1)

    images = RNG.normal(size=(20, 2, 2, 1))
    given = filled(metrics.FrechetDistance(doubled), images, images + 1.0).result()
    assert given == pytest.approx(4 * 4.0)


def test_what_does_not_fit_is_refused():
    for metric in (metrics.FrechetDistance(), metrics.KernelDistance(), metrics.Manifold()):
        with pytest.raises(ArgumentError, match="real samples must be given"):
            metric.result()
        with pytest.raises(ArgumentError, match="of must be one of"):
            metric.update_state(np.ones((3, 2)), "fake")
        with pytest.raises(ArgumentError, match=r"features must be numbers \(N, D\)"):
            metric.update_state(np.ones((3, 2, 2)), "real")
        with pytest.raises(ArgumentError, match="finite"):
            metric.update_state(np.full((3, 2), np.nan), "real")
        metric.update_state(np.ones((9, 2)), "real")
        with pytest.raises(ArgumentError, match="2 numbers, as those before"):
            metric.update_state(np.ones((9, 3)), "generated")
    score = metrics.InceptionScore(from_logits=False)
    with pytest.raises(ArgumentError, match="sum to 1"):
        score.update_state(np.ones((3, 2)))
    with pytest.raises(ArgumentError, match="one for each split"):
        score.result()
    with pytest.raises(ArgumentError, match="covariances"):
        metrics.frechet_distance([0.0], [1.0], [0.0], [1.0])
    with pytest.raises(ArgumentError, match="same number"):
        metrics.memorised_share(np.ones((2, 2)), np.ones((2, 3)), np.ones((2, 3)))


def test_a_distance_of_few_samples_is_told():
    samples = np.random.default_rng(0).normal(size=(5, 5))
    with pytest.warns(UserWarning, match="a covariance of 5 features has no full rank from 5 samples"):
        filled(metrics.FrechetDistance(), samples, samples).result()
