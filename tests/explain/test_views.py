"""Attention flows, views of features, projections and checks of attributions, against closed forms and planted nets."""

import keras
import numpy as np
import pytest
from test_attributions import curved, linear, planted_data, planted_net

import kerasdl
from kerasdl import blocks, explain
from kerasdl.core import ArgumentError
from kerasdl.core.errors import UnknownNameError

RNG = np.random.default_rng(0)


def tokens_net(depth=2, heads=2, shared=None, length=5):
    """A small transformer over vectors, its class read at place 0."""
    keras.utils.set_random_seed(1)
    x = tokens = keras.Input((length, 8))
    for block in range(depth):
        x = blocks.encoder_block(x, heads, hidden=16, shared_heads=shared, name=f"block{block + 1}")
    x = keras.layers.Flatten()(x)
    return keras.Model(tokens, keras.layers.Dense(3)(x))


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("shared", [None, 1])
def test_attention_maps_are_the_softmax_of_scores(shared):
    net, x = tokens_net(1, shared=shared), RNG.normal(size=(3, 5, 8)).astype("float32")
    given = explain.attention_maps(net, x)["block1_attention_scores"]
    query, key = (
        keras.Model(net.input, net.get_layer(f"block1_attention_{part}_heads").output)(x).numpy()
        for part in ("query", "key")
    )
    key = np.repeat(key, query.shape[2] // key.shape[2], axis=2)
    wanted = softmax(np.einsum("btnh,bsnh->bnts", query, key) / 2.0)
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_maps_of_keras_attention_are_its_own():
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 6))
    layer = keras.layers.MultiHeadAttention(2, 3, name="mha")
    net, data = keras.Model(x, layer(x, x)), RNG.normal(size=(2, 4, 6)).astype("float32")
    wanted = layer(data, data, return_attention_scores=True)[1]
    np.testing.assert_allclose(explain.attention_maps(net, data)["mha"], wanted, atol=1e-6)


def test_rollout_multiplies_half_attention_and_half_shortcut():
    net, x = tokens_net(2), RNG.normal(size=(2, 5, 8)).astype("float32")
    first, second = (each.mean(axis=1) for each in explain.attention_maps(net, x).values())
    unit = np.eye(5)
    wanted = (0.5 * second + 0.5 * unit) @ (0.5 * first + 0.5 * unit)
    given = explain.attention_rollout(net, x)
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    np.testing.assert_allclose(given.sum(axis=-1), 1.0, atol=1e-5)


def test_relevance_depends_on_the_class_and_points_to_what_is_read():
    tokens = keras.Input((5, 8))
    x = blocks.multi_head_attention(tokens, tokens, 1, name="attention")
    x = keras.layers.Flatten()(keras.layers.Cropping1D((0, 4))(x))  # place 0 is read alone
    net = keras.Model(tokens, keras.layers.Dense(2)(x))
    data = RNG.normal(size=(2, 5, 8)).astype("float32")
    first, second = (explain.attention_relevance(net, data, target) for target in (0, 1))
    assert np.abs(first - second).max() > 1e-3
    assert first[:, 0].max() > 0
    np.testing.assert_array_equal(first[:, 1:], 0)


def test_a_vision_transformer_and_a_net_of_two_inputs_are_read():
    vit = kerasdl.build("vit_tiny", **kerasdl.spec("vit_tiny").tiny)
    images = RNG.normal(size=(2, *vit.input_shape[1:])).astype("float32")
    flow = explain.attention_rollout(vit, images)
    np.testing.assert_allclose(flow.sum(axis=-1), 1.0, atol=1e-4)
    ids = keras.Input((4,), dtype="int32", name="tokens")
    memory = keras.Input((6, 8), name="memory")
    x = blocks.multi_head_attention(keras.layers.Embedding(9, 8)(ids), memory, 2, name="cross")
    net = keras.Model({"tokens": ids, "memory": memory}, x)
    inputs = {"tokens": np.array([[1, 2, 3, 0]]), "memory": RNG.normal(size=(1, 6, 8))}
    assert explain.attention_maps(net, inputs)["cross_scores"].shape == (1, 2, 4, 6)
    with pytest.raises(ArgumentError, match="over the places of one sequence"):
        explain.attention_rollout(net, inputs)
    with pytest.raises(ArgumentError, match="must have layers of attention"):
        explain.attention_maps(curved(), np.zeros((1, 6, 6, 2)))


def test_flows_past_attention_that_is_not_read_are_refused():
    vit = kerasdl.build("vit_tiny", **kerasdl.spec("vit_tiny").tiny)
    images = RNG.normal(size=(1, *vit.input_shape[1:])).astype("float32")
    tuned = kerasdl.sequence.lora(vit, 2, targets="block1_attention/query")
    for method in (explain.attention_maps, explain.attention_rollout, explain.attention_relevance):
        with pytest.raises(ArgumentError, match=r"without adapters; got 'block1_attention'.*merge_lora"):
            method(tuned, images)
    merged = explain.attention_rollout(kerasdl.sequence.merge_lora(tuned), images)
    np.testing.assert_allclose(merged, explain.attention_rollout(vit, images), atol=1e-6)
    x = keras.Input((5, 8))
    y = keras.layers.MultiHeadAttention(2, 4, name="read")(x, x)
    net = keras.Model(x, keras.layers.GroupQueryAttention(4, 2, 1, name="other")(y, y))
    assert [*explain.attention_maps(net, np.ones((1, 5, 8)))] == ["read"]
    with pytest.raises(ArgumentError, match="kinds that are read; got 'other'"):
        explain.attention_rollout(net, np.ones((1, 5, 8)))


def test_feature_maps_are_the_outputs_of_layers():
    net, (images, _, _) = planted_net(), planted_data(3, 5)
    given = explain.feature_maps(net, images, ["last"])
    np.testing.assert_allclose(given["last"], keras.Model(net.input, net.get_layer("last").output)(images), atol=1e-5)
    sizes = [each.shape[1] for each in explain.feature_maps(net, images).values()]
    assert sizes == [24, 12]
    with pytest.raises(UnknownNameError, match="last"):
        explain.feature_maps(net, images, ["lost"])
    with pytest.raises(ArgumentError, match="layers must have maps"):
        explain.feature_maps(net, images, ["logits"])


def test_filters_are_kernels_from_0_to_1():
    net = planted_net()
    given, kernel = explain.filters(net), net.layers[1].get_weights()[0]
    assert given.shape == (12, 3, 3, 1)
    assert given.min() == 0.0
    assert given.max() == pytest.approx(1.0)
    assert np.corrcoef(given[4].ravel(), kernel[..., 4].ravel())[0, 1] == pytest.approx(1.0)
    with pytest.raises(ArgumentError, match="filters are those of"):
        explain.filters(net, "logits")


@pytest.mark.slow
def test_the_image_of_a_class_is_taken_for_it():
    net, (images, classes, _) = planted_net(), planted_data(200, 6)
    logits = net(images).numpy()
    for number in (0, 1):
        made = explain.activation_maximization(net, number, steps=60, count=2, low=-1.0, high=2.0)
        assert made.min() >= -1.0
        assert made.max() <= 2.0
        scores = net(made).numpy()
        assert (scores[:, number] > logits[classes == number, number].max()).all()
        assert (scores.argmax(axis=1) == number).all()
    with pytest.raises(ArgumentError, match="the score must depend on the image"):
        explain.activation_maximization(net, lambda outputs: keras.ops.ones(len(outputs)), steps=1)
    again = explain.activation_maximization(net, 1, steps=60, count=2, low=-1.0, high=2.0)
    np.testing.assert_allclose(made, again, atol=1e-4)


def test_dreams_raise_what_a_layer_sees():
    image = keras.Input((None, None, 1))
    keras.utils.set_random_seed(0)
    x = keras.layers.Conv2D(4, 3, activation="relu", padding="same", name="seen")(image)
    net = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    photo = RNG.uniform(-0.5, 0.5, (40, 30, 1)).astype("float32")
    dream = explain.deep_dream(net, photo, "seen", steps=5)
    seen = keras.Model(net.input, x)
    assert dream.shape == photo.shape
    assert np.abs(dream).max() <= 1.0
    assert (seen(dream[None]).numpy() ** 2).mean() > 1.5 * (seen(photo[None]).numpy() ** 2).mean()
    with pytest.raises(ArgumentError, match="images of any size"):
        explain.deep_dream(planted_net(), np.zeros((24, 24, 1)), "last")


def test_principal_components_keep_distances_in_a_plane():
    plane = RNG.normal(size=(30, 2)) @ RNG.normal(size=(2, 7)) + 5.0
    points = explain.project(plane)
    for place in (3, 11):
        wanted = np.linalg.norm(plane - plane[place], axis=1)
        np.testing.assert_allclose(np.linalg.norm(points - points[place], axis=1), wanted, atol=1e-4)


def test_groups_stay_together_and_pictures_are_written(tmp_path):
    groups = np.repeat(np.arange(3), 12)
    vectors = 10.0 * np.eye(5)[groups] + RNG.normal(size=(36, 5))
    points = explain.project(vectors, "tsne", seed=1)
    places, _ = explain.nearest_examples(points, points, 4, measure="euclidean")
    assert (groups[places] == groups[:, None]).mean() > 0.98
    figure = explain.draw_projection(points, groups, ["a", "b", "c"], tmp_path / "points.png")
    assert len(figure.axes[0].collections) == 3
    assert (tmp_path / "points.png").stat().st_size > 2000
    images = RNG.integers(0, 256, (36, 8, 8, 3), dtype=np.uint8)
    explain.write_projection_page(points, images, tmp_path / "page.html", classes=groups, names=["<a>", "b", "c"])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<image ") == 36
    assert "&lt;a&gt;" in page
    assert "http" not in page


def test_nearest_examples_by_hand():
    vectors = np.array([[1.0, 0.0], [0.0, 3.0], [5.0, 5.0], [0.0, 0.0]])
    places, distances = explain.nearest_examples(vectors, np.array([[0.0, 1.0]]), 3)
    np.testing.assert_array_equal(places, [[1, 2, 0]])
    np.testing.assert_allclose(distances, [[0.0, 1 - 0.5**0.5, 1.0]], atol=1e-12)
    assert explain.nearest_examples(vectors, np.array([[0.0, 1.0]]), 1, measure="euclidean")[0].tolist() == [[3]]


def test_vectors_before_the_head():
    net, (images, _, _) = planted_net(), planted_data(5, 5)
    given = explain.vectors_before_head(net, images)
    kernel, bias = net.get_layer("logits").get_weights()
    np.testing.assert_allclose(given @ kernel + bias, net(images), atol=1e-4)


def test_ranks_are_scipys():
    from scipy.stats import spearmanr

    first, second = RNG.normal(size=(2, 4, 3, 5))
    given = explain.rank_correlation(first, second)
    wanted = [spearmanr(np.abs(a).ravel(), np.abs(b).ravel())[0] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(given, wanted)
    assert explain.rank_correlation(np.ones((1, 4)), RNG.normal(size=(1, 4)))[0] == 0


def test_gradients_lose_their_map_with_the_weights_and_edges_do_not():
    net, (images, classes, _) = planted_net(), planted_data(8, 7)
    found = explain.randomised_weights(explain.saliency, net, images, classes)
    assert next(iter(found)) == "logits"
    assert len(found) == 4
    assert list(found.values())[-1] < 0.5

    def edges(model, x, target):
        return np.abs(np.diff(x, axis=1, append=0.0))

    assert min(explain.randomised_weights(edges, net, images, classes).values()) == pytest.approx(1.0)


def test_gradients_lose_their_map_with_the_labels_and_edges_do_not():
    net, (images, classes, _) = planted_net(), planted_data(8, 7)
    other = keras.models.clone_model(net)
    other.set_weights([np.random.default_rng(1).permuted(each) for each in net.get_weights()])
    assert explain.randomised_labels(explain.saliency, net, net, images, classes) == pytest.approx(1.0)
    assert explain.randomised_labels(explain.saliency, net, other, images, classes) < 0.6
    assert explain.randomised_labels(lambda model, x, target: x, net, other, images) == pytest.approx(1.0)
    with pytest.raises(ArgumentError, match="same inputs and outputs"):
        explain.randomised_labels(explain.saliency, net, curved(), images)


def test_removal_of_a_linear_score_is_a_cumulative_sum():
    (net, weights), x = linear((4, 4, 1)), np.ones((1, 4, 4, 1), "float32")
    own = weights[..., 0, 1]
    given = explain.removal_scores(net, x, own[None], 1, steps=16)
    order = np.sort(own.ravel())[::-1]
    shown = np.concatenate([[0.0], np.cumsum(order)])
    assert given.insertion[0] == pytest.approx(shown.mean(), abs=1e-5)
    assert given.deletion[0] == pytest.approx((own.sum() - shown).mean(), abs=1e-5)


def test_pointing_shares_ties():
    heat, masks = np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool)
    heat[0, 0, 0], masks[0, 0, 0], masks[1, :, 0] = 1.0, True, True
    assert explain.pointing_game(heat, masks) == pytest.approx(0.75)
    with pytest.raises(ArgumentError, match="each with an object"):
        explain.pointing_game(heat, np.zeros((2, 2, 2), bool))
    with pytest.raises(ArgumentError, match="heat must be finite"):
        explain.pointing_game(np.full((2, 2, 2), np.nan), masks)
    with pytest.raises(ArgumentError, match="heat must be finite"):
        explain.removal_scores(linear((4, 4, 1))[0], np.ones((1, 4, 4, 1)), np.full((1, 4, 4), np.nan))


def test_methods_side_by_side_beat_random_places():
    net, (images, classes, masks) = planted_net(), planted_data(20, 8)
    methods = {"Grad-CAM": explain.grad_cam, "gradients": explain.input_times_gradient}
    rows = explain.compare_methods(methods, net, images, masks, classes, steps=8)
    assert list(rows) == ["Grad-CAM", "gradients", "random places"]
    chance = rows["random places"]
    assert rows["Grad-CAM"]["pointing"] > 0.8 > chance["pointing"]
    for name in methods:
        assert rows[name]["insertion"] > chance["insertion"]
        assert rows[name]["kept without weights"] < 0.9
