"""Networks of agents over every space."""

import keras
import numpy as np
import pytest

from kerasdl import rl
from kerasdl.core.keras_graph import check_graph
from kerasdl.errors import ArgumentError

VECTOR = rl.Box(-1.0, 1.0, (4,))


@pytest.mark.parametrize(
    ("space", "parameters"),
    [
        (VECTOR, 4 * 8 + 8),
        (rl.Box(0.0, 1.0, ()), 1 * 8 + 8),
        (rl.Box(0.0, 1.0, (3, 2)), 6 * 8 + 8),
        (rl.Discrete(16), 16 * 8 + 8 * 8 + 8),
        (rl.MultiDiscrete((3, 5)), 2 * 8 + 8),
        (rl.Box(0.0, 1.0, (6, 5, 1)), 16 * 9 + 16 + 32 * 16 * 9 + 32 + 9 * 32 * 8 + 8),
        (rl.Box(0, 255, (84, 84, 4)), 32 * 64 * 4 + 32 + 64 * 16 * 32 + 64 + 64 * 9 * 64 + 64 + 3136 * 8 + 8),
    ],
    ids=str,
)
def test_values_of_every_space(space, parameters):
    net = rl.value_network(space, hidden=(8,))
    assert net.count_params() == parameters + 8 + 1
    check_graph(net)
    shape = (2, *space.shape)
    observations = np.ones(shape, space.dtype) * (1 if space.dtype == "int32" else 0.5)
    assert net(observations).shape == (2, 1)
    assert np.ptp(rl.policy_network(space, rl.Discrete(3), hidden=(8,))(observations)) < 0.2


def test_outputs_follow_the_actions():
    outputs = [rl.Discrete(3), rl.MultiDiscrete((2, 5)), rl.Box(-1.0, 1.0, (2, 2))]
    assert [rl.policy_network(VECTOR, each).output_shape[-1] for each in outputs] == [3, 7, 4]


def test_critics_take_actions_beside_every_observation():
    for space in (VECTOR, rl.Box(0.0, 1.0, ()), rl.Discrete(16), rl.Box(0.0, 1.0, (6, 5, 1))):
        net = rl.critic_network(space, 2, hidden=(8,))
        check_graph(net)
        observations = np.ones((2, *space.shape), space.dtype)
        values = [net([observations, np.full((2, 2), each, "float32")]).numpy() for each in (0.0, 1.0)]
        assert values[0].shape == (2, 1)
        assert not np.allclose(*values)
    assert rl.critic_network(VECTOR, 2, hidden=(8,)).count_params() == 6 * 8 + 8 + 8 + 1


def test_squashed_policies_reach_the_bounds_of_each_entry_and_load(tmp_path):
    net = rl.squashed_policy_network(VECTOR, rl.Box((-3.0, 0.0), (1.0, 0.5), (2,)), hidden=(8,))
    check_graph(net)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(net(x), np.tile([[-1.0, 0.25]], (5, 1)), atol=0.2)
    for sign, corner in ((1, [1.0, 0.5]), (-1, [-3.0, 0.0])):
        net.get_layer("mean").set_weights([np.zeros((8, 2)), np.full(2, 30.0 * sign)])
        np.testing.assert_allclose(net(x), [corner] * 5, atol=1e-6)
    net.save(tmp_path / "squashed.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "squashed.keras")(x), net(x))


def test_pictures_up_to_255_are_scaled():
    net = rl.value_network(rl.Box(0, 255, (8, 8, 1)), hidden=(8,))
    plain = rl.value_network(rl.Box(0.0, 1.0, (8, 8, 1)), hidden=(8,))
    plain.set_weights(net.get_weights())
    picture = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(net(picture), plain(picture / 255), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sizes", "expected"), [((2, 501), [1.0, 0.5]), ((3, 3), [0.5, 1.0]), ((1, 2), [0.0, 1.0])])
def test_several_whole_numbers_are_scaled_each_by_its_own_size(sizes, expected):
    net = rl.value_network(rl.MultiDiscrete(sizes), hidden=(4,))
    scaled = keras.Model(net.input, net.get_layer("rescale").output)
    seen = {(2, 501): [1, 250], (3, 3): [1, 2], (1, 2): [0, 1]}[sizes]
    np.testing.assert_allclose(scaled(np.array([seen], "int32")), [expected], rtol=1e-6)


@pytest.mark.parametrize("high", [1, 200, 255])
def test_bytes_of_pictures_are_scaled_to_1(high):
    net = rl.value_network(rl.Box(0, high, (6, 6, 1), "uint8"), hidden=(8,))
    plain = rl.value_network(rl.Box(0.0, 1.0, (6, 6, 1)), hidden=(8,))
    plain.set_weights(net.get_weights())
    picture = np.random.default_rng(0).integers(0, high + 1, (1, 6, 6, 1)).astype("uint8")
    np.testing.assert_allclose(net(picture), plain(picture / np.float32(high)), rtol=1e-4, atol=1e-5)


def test_a_network_loads_without_kerasdl_objects(tmp_path):
    net = rl.policy_network(VECTOR, rl.Discrete(2), normalize=True)
    net.save(tmp_path / "policy.keras")
    x = np.ones((3, 4), "float32")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "policy.keras")(x), net(x))


def test_unknown_spaces_and_settings_are_refused():
    with pytest.raises(ArgumentError, match="observation_space must be"):
        rl.value_network("pictures")
    with pytest.raises(ArgumentError, match="action_space must be"):
        rl.policy_network(VECTOR, 3)
    with pytest.raises(ArgumentError, match="a Box of float32"):  # means would be cut to whole numbers
        rl.policy_network(VECTOR, rl.Box(0, 255, (2,), "uint8"))
    with pytest.raises(ArgumentError, match="normalize=True needs observations that are vectors"):
        rl.policy_network(rl.Box(0, 255, (4,), "uint8"), rl.Discrete(2), normalize=True)
    with pytest.raises(ArgumentError, match="normalize=True needs observations that are vectors"):
        rl.value_network(rl.Discrete(4), normalize=True)
    with pytest.raises(ArgumentError, match="activation must be one of"):
        rl.value_network(VECTOR, activation="softmax")
    with pytest.raises(ArgumentError, match="hidden must hold"):
        rl.value_network(VECTOR, hidden=())
