"""Perceptron, multilayer perceptron, gradient checks and mathematics: what they promise, and where they end."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl import foundations
from kerasdl.data import load
from kerasdl.foundations import MLP, Perceptron, math, mistake_bound, optimizers

XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), margin=st.floats(0.05, 1.0))
def test_perceptron_ends_within_the_bound_on_separable_data(seed, margin):
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=4)
    direction /= np.linalg.norm(direction)
    inputs = rng.normal(size=(60, 3))
    sides = np.hstack([inputs, np.ones((60, 1))]) @ direction
    kept = np.abs(sides) >= margin
    inputs, labels = inputs[kept], np.sign(sides[kept]).astype(int)
    if len(labels) == 0:
        return
    neuron = Perceptron().fit(inputs, labels, passes=100_000)
    assert neuron.converged
    assert sum(neuron.mistakes) <= mistake_bound(inputs, labels, direction)
    assert np.array_equal(neuron.predict(inputs), labels)


def test_perceptron_never_ends_on_xor():
    neuron = Perceptron().fit(XOR, np.array([-1, 1, 1, -1]), passes=500)
    assert not neuron.converged
    assert len(neuron.mistakes) == 500
    with pytest.raises(ValueError, match="direction must separate the data; its margin is -"):
        mistake_bound(XOR, np.array([-1, 1, 1, -1]), np.ones(3))
    with pytest.raises(ValueError, match="its margin is 0"):
        mistake_bound(XOR, np.ones(4), np.zeros(3))
    with pytest.raises(ValueError, match="each row must have a label"):
        mistake_bound(XOR, np.ones((4, 1)), np.ones(3))


def test_perceptron_refuses_other_labels_and_shapes(tmp_path):
    with pytest.raises(ValueError, match=r"labels must be -1 or 1; got \[0 1\]"):
        Perceptron().fit(XOR, np.array([0, 1, 1, 0]))
    with pytest.raises(
        ValueError, match=r"inputs must be finite \(N, D\) with one label each; got \(4, 2\) and \(3,\)"
    ):
        Perceptron().fit(XOR, np.ones(3))
    with pytest.raises(ValueError, match="inputs must be finite"):
        Perceptron().fit(np.full((1, 2), np.nan), np.ones(1))
    with pytest.raises(ValueError, match="must learn before it predicts"):
        Perceptron().predict(XOR)
    neuron = Perceptron().fit(XOR, np.array([-1, -1, -1, 1]))
    with pytest.raises(ValueError, match="lie on no side"):
        neuron.predict(np.full((1, 2), np.nan))
    assert neuron.draw(XOR, np.array([-1, -1, -1, 1]), tmp_path / "line.png").axes
    assert (tmp_path / "line.png").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"a boundary is drawn for two inputs \(N, 2\); got \(4, 3\)"):
        neuron.draw(np.ones((4, 3)), np.ones(4))


@pytest.mark.parametrize("seed", range(5))
def test_two_layers_solve_xor(seed):
    net = MLP((2, 8, 1), activation="tanh", loss="bce_from_logits", kernel="xavier_uniform", seed=seed)
    net.fit(XOR, np.array([[0.0], [1.0], [1.0], [0.0]]), epochs=300, batch_size=4, optimizer=optimizers.Adam(0.05))
    assert ((net.forward(XOR) > 0).ravel() == [False, True, True, False]).all()
    assert net.history[-1] < 0.1 < net.history[0]


def test_backpropagation_equals_differences():
    rng = np.random.default_rng(0)
    net, x, targets = MLP((4, 5, 3), activation="gelu"), rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    _, gradients = net.loss_and_gradients(x, targets)
    weights = net.weights

    def loss(moved):
        net.weights = moved
        return net.loss.value(targets, net.forward(x))

    worst = foundations.gradient_check(loss, gradients, weights)
    assert set(worst) == {"layer0.kernel", "layer0.bias", "layer1.kernel", "layer1.bias"}
    planted = {**gradients, "layer0.kernel": gradients["layer0.kernel"].copy()}
    planted["layer0.kernel"][2, 3] *= -1.0
    with pytest.raises(ValueError, match=r"the gradient of 'layer0.kernel' is wrong at \(2, 3\): by hand"):
        foundations.gradient_check(loss, planted, weights)


def test_gradient_check_names_what_does_not_fit():
    square = lambda w: float((w["w"] ** 2).sum())  # noqa: E731
    with pytest.raises(ValueError, match=r"gradients must name the weights \['w'\]; got \[\]"):
        foundations.gradient_check(square, {}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match=r"the gradient of 'w' must have its shape \(2,\); got \(1,\)"):
        foundations.gradient_check(square, {"w": np.ones(1)}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="the gradient of 'w' is wrong"):
        foundations.gradient_check(square, {"w": np.array([np.nan, 2.0])}, {"w": np.ones(2)})


def test_a_net_from_scratch_reads_digits():
    train, test = (load("digits", split, scale=(0.0, 1.0)).arrays() for split in ("train", "test"))
    x, shown = (each[:, 2::4, 2::4].reshape(len(each), -1) for each in (train[0], test[0]))
    net = MLP((x.shape[1], 64, 10)).fit(x, np.eye(10)[train[1]], epochs=40, optimizer=optimizers.Adam(3e-3))
    assert (net.predict_classes(shown) == test[1]).mean() >= 0.97
    np.testing.assert_allclose(net.predict(shown).sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="each input must have a target; got 3 and 2"):
        net.fit(x[:3], np.eye(10)[:2])
    for wrong in (np.array([1, 2, 3]), np.array([[1], [2], [3]])):
        with pytest.raises(ValueError, match="targets must have the shape"):
            net.fit(x[:3], wrong)
    with pytest.raises(ValueError, match="must be finite"):
        net.fit(np.full_like(x[:3], np.nan), np.eye(10)[:3])
    with pytest.raises(ValueError, match="sizes must be inputs and outputs at least"):
        MLP((3,))


def test_predictions_follow_the_loss():
    x = np.array([[-3.0], [2.0]])
    values, chances = MLP((1, 1), loss="mse"), MLP((1, 1), loss="bce_from_logits")
    for net in (values, chances):
        net.weights = {"layer0.kernel": np.array([[2.0]]), "layer0.bias": np.array([1.0])}
    assert values.predict(x).tolist() == [[-5.0], [5.0]]
    np.testing.assert_allclose(chances.predict(x), 1 / (1 + np.exp([[5.0], [-5.0]])))
    assert chances.predict_classes(x).tolist() == [0, 1]
    with pytest.raises(ValueError, match="classes of one output need the loss bce_from_logits; got mse"):
        values.predict_classes(x)
    with pytest.raises(ValueError, match="outputs must be finite"):
        chances.predict_classes(np.full((1, 1), np.nan))
    with pytest.raises(ValueError, match="loss must be one of linear outputs"):
        MLP((1, 2), loss="ce")
    for wrong in ({"layer0.kernel": np.ones(1)}, {"kernel": np.ones((1, 1))}):
        with pytest.raises(ValueError, match="weights must be of"):
            values.weights = wrong


@pytest.mark.bars
def test_a_net_from_scratch_reads_mnist():
    """From 3,000 examples, of which least squares read 0.82 of the digits."""
    train, test = (load("mnist", split, scale=(0.0, 1.0)).arrays() for split in ("train", "test"))
    x, shown = (each.reshape(len(each), -1) for each in (train[0], test[0]))
    net = MLP((x.shape[1], 256, 128, 10)).fit(x, np.eye(10)[train[1]], epochs=15, optimizer=optimizers.Adam(5e-4))
    assert (net.predict_classes(shown) == test[1]).mean() >= 0.94


def test_compression_by_singular_values():
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("china.jpg").mean(axis=2)[::4, ::4]
    values = np.linalg.svd(photo, compute_uv=False)
    for rank in (1, 10, 40):
        small, error = math.compress(photo, rank)
        assert np.linalg.matrix_rank(small) == rank
        assert (
            error == pytest.approx(np.linalg.norm(photo - small)) == pytest.approx(np.sqrt((values[rank:] ** 2).sum()))
        )
    with pytest.raises(ValueError, match=r"matrix must be \(H, W\); got \(5, 4, 3\)"):
        math.compress(np.ones((5, 4, 3)), 1)
    with pytest.raises(ValueError, match="rank must be from 1 to 2; got 3"):
        math.compress(np.ones((2, 5)), 3)


def test_principal_components_equal_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).normal(size=(50, 6)) * np.arange(1, 7)
    peer = PCA(3).fit(rows)
    directions, shares, moved = math.principal_components(rows, 3)
    np.testing.assert_allclose(np.abs((directions * peer.components_).sum(axis=1)), 1.0)
    np.testing.assert_allclose(shares, peer.explained_variance_ratio_)
    np.testing.assert_allclose(moved, (rows - rows.mean(axis=0)) @ directions.T)
    assert np.isfinite(math.principal_components(np.ones((4, 3)), 2)[1]).all()
    with pytest.raises(ValueError, match="count must be from 1 to 6; got 7"):
        math.principal_components(rows, 7)


def test_entropy_divergence_and_information():
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    assert math.entropy(p) == pytest.approx(entropy(p))
    assert math.kl_divergence(p, q) == pytest.approx(entropy(p, q))
    assert math.cross_entropy(p, q) == pytest.approx(entropy(p) + entropy(p, q))
    assert math.kl_divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == np.inf
    joint = rng.dirichlet(np.ones(12)).reshape(3, 4)
    of_rows = entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0)) - entropy(joint.ravel())
    assert math.mutual_information(joint) == pytest.approx(of_rows)
    assert math.mutual_information(np.outer(p, q)) == pytest.approx(0.0, abs=1e-12)
    for wrong in ([[5, 0], [0, 5]], [[0.5, np.nan]], [[1.5, -0.5]]):
        with pytest.raises(ValueError, match="shares must be 0 or more and sum to 1"):
            math.mutual_information(wrong)
    with pytest.raises(ValueError, match="shares of the same things"):
        math.cross_entropy(p, np.ones(1))


def test_critical_points_by_their_spectrum():
    kinds = {
        "minimum": lambda p: p[0] ** 2 + 3 * p[1] ** 2,
        "maximum": lambda p: -(p[0] ** 2) - p[1] ** 2,
        "saddle": lambda p: p[0] * p[1],
        "flat": lambda p: p[0] ** 2 + p[1] ** 4,
    }
    for kind, function in kinds.items():
        assert math.critical_point(function, np.zeros(2))[0] == kind
    with pytest.raises(ValueError, match="a critical point must have no slope; got one of 2"):
        math.critical_point(kinds["minimum"], np.array([1.0, 0.0]))
    np.testing.assert_allclose(math.critical_point(kinds["saddle"], np.zeros(2))[1], [-1.0, 1.0], atol=1e-6)


def test_surface_of_the_loss_of_a_net():
    net = MLP((2, 8, 1), activation="tanh", loss="bce_from_logits", seed=1)
    targets = np.array([[0.0], [1.0], [1.0], [0.0]])
    net.fit(XOR, targets, epochs=200, batch_size=4, optimizer=optimizers.Adam(0.05))
    weights = net.weights

    def loss(moved):
        net.weights = moved
        return net.loss.value(targets, net.forward(XOR))

    places, losses = math.loss_surface(loss, weights, points=5)
    assert losses[2, 2] == pytest.approx(loss(weights)) == pytest.approx(losses.min())
    assert places.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert len(math.draw_surface(places, losses).axes) == 3
    with pytest.raises(ValueError, match="points must be odd, 3 or more"):
        math.loss_surface(loss, weights, points=4)


def test_chapters_load_nothing_heavy():
    program = (
        "import sys; from kerasdl import foundations; [getattr(foundations, name) for name in foundations.__all__];"
        "heavy = [name for name in ('tensorflow', 'keras', 'matplotlib', 'sklearn', 'scipy') if name in sys.modules];"
        "print(heavy, [name for name in sys.modules if name.startswith('kerasdl.data')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[] []\n"
