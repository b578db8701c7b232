"""Text encoders: counts from the papers' sizes, padding, segments, shared blocks, and heads."""

import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.blocks import replace_head
from kerasdl.core import ArgumentError
from kerasdl.sequence.transformer.bert import SIZES
from kerasdl.sequence.transformer.text_heads import ENCODERS

ENCODER_NAMES = ("bert_tiny", "distilbert_base", "roberta_base", "albert_base", "electra_small")


def dense(inputs, outputs):
    return inputs * outputs + outputs


def block(width, hidden):
    """Four projections, two dense layers, two norms with scale and offset."""
    return 4 * dense(width, width) + dense(width, hidden) + dense(hidden, width) + 2 * 2 * width


def tables(vocabulary, positions, segments, width):
    """Tokens, positions, segments and the norm of their sum."""
    return (vocabulary + positions + segments) * width + 2 * width


def expected(name):
    """Returns the weights of an encoder from the sizes in its paper."""
    if name in SIZES:
        width, depth, _, hidden = SIZES[name].values()
        return tables(30_522, 512, 2, width) + depth * block(width, hidden) + dense(width, width)
    base = block(768, 3072)
    return {
        "distilbert_base": tables(30_522, 512, 0, 768) + 6 * base,
        "roberta_base": tables(50_265, 514, 1, 768) + 12 * base + dense(768, 768),
        "albert_base": tables(30_000, 512, 2, 128) + dense(128, 768) + base + dense(768, 768),
        "electra_small": tables(30_522, 512, 2, 128) + dense(128, 256) + 12 * block(256, 1024),
    }[name]


@pytest.mark.parametrize("name", [*SIZES, *ENCODER_NAMES[1:]])
def test_counts_follow_from_the_papers_sizes(name):
    assert kerasdl.spec(name).params == expected(name)


@pytest.mark.parametrize("task", ["classifier", "tagger", "answerer"])
def test_counts_of_heads_are_those_of_their_encoder(task):
    names = [name for name in kerasdl.list_models(f"*_{task}", tag="transformer")]
    assert names
    for name in names:
        spec = kerasdl.spec(name)
        encoder = spec.arguments.get("encoder", "bert_base")
        sizes = ENCODERS[encoder].sizes
        pooler = dense(sizes["width"], sizes["width"])
        bare = expected(encoder) - (pooler if encoder[:4] in ("bert", "mini", "robe", "albe") else 0)
        own = {"classifier": dense(sizes["width"], 2) + pooler, "tagger": dense(sizes["width"], 9)}
        assert spec.params == bare + own.get(task, dense(sizes["width"], 2)), name


def small(name, **changes):
    spec = kerasdl.spec(name)
    encoder = {"encoder": spec.arguments["encoder"]} if "encoder" in spec.arguments else {}
    return fill_weights(kerasdl.build(name, **{**spec.tiny, **encoder, **changes}))


def texts(model, lengths=(5, 8), length=8, seed=0):
    padding = 1 if model.name.startswith("roberta") else 0
    tokens = np.random.default_rng(seed).integers(4, 60, (len(lengths), length)).astype("int32")
    tokens[np.arange(length) >= np.array(lengths)[:, None]] = padding
    return with_segments(model, tokens)


def with_segments(model, tokens, segments=None):
    segments = np.zeros_like(tokens) if segments is None else segments
    return tokens if len(model.inputs) == 1 else {"tokens": tokens, "segments": segments}


def states(model, inputs):
    given = model(inputs, training=False)
    return np.asarray(given["hidden_states"] if isinstance(given, dict) else given)


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_padding_changes_no_token(name):
    model = small(name, length=None)
    padded = texts(model, lengths=(5,))
    short = keras.tree.map_structure(lambda leaf: leaf[:, :5], padded)
    np.testing.assert_allclose(states(model, padded)[:, :5], states(model, short), atol=1e-5)


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_one_token_and_padding_alone_are_finite(name):
    model = small(name)
    assert np.isfinite(states(model, texts(model, lengths=(1, 0)))).all()


def test_tokens_see_those_behind_and_segments_matter():
    model = small("bert_tiny")
    inputs = texts(model, lengths=(8,))
    later = {**inputs, "tokens": inputs["tokens"] + np.eye(8, dtype="int32")[7:]}
    assert np.abs(states(model, later) - states(model, inputs))[:, 0].max() > 1e-3
    second = {**inputs, "segments": np.repeat([[0, 1]], 4, axis=1).astype("int32")}
    assert np.abs(states(model, second) - states(model, inputs)).max() > 1e-2


def test_positions_of_roberta_begin_behind_the_padding():
    model = small("roberta_base")
    before = states(model, texts(model))
    table = model.get_layer("position").table
    table.assign(np.concatenate([np.full((2, 32), 9.0), np.asarray(table)[2:]]))
    np.testing.assert_array_equal(states(model, texts(model)), before)


def test_the_block_of_albert_is_one_that_runs_again():
    model, deeper = small("albert_base"), small("albert_base", depth=5)
    assert deeper.count_params() == model.count_params()
    assert len([layer for layer in deeper.layers if isinstance(layer, keras.layers.Dense)]) == 1 + 6 + 1
    once = small("albert_base", depth=1)
    inputs = texts(model)
    mask = inputs["tokens"] != 0
    middle = states(once, inputs)
    parts = {layer.name: layer for layer in once.layers}
    entry, seen = keras.Input((8, middle.shape[-1])), keras.Input((8,), dtype="bool")
    part = keras.Model([entry, seen], _block_of(parts, entry, seen))
    for _ in range(4):
        middle = np.asarray(part([middle, mask]))
    np.testing.assert_allclose(states(deeper, inputs), middle, atol=1e-4)


def _block_of(parts, x, mask):
    """Returns the block of a net over another input, written out."""
    heads = [
        parts[f"block_attention_{part}_heads"](parts[f"block_attention_{part}"](x))
        for part in ("query", "key", "value")
    ]
    y = parts["block_attention_merge"](parts["block_attention_scores"](heads, key_mask=mask))
    x = parts["block_attention_norm"](keras.layers.Add()([x, parts["block_attention_output"](y)]))
    y = parts["block_mlp_gelu_tanh"](parts["block_mlp_expand"](x))
    return parts["block_mlp_norm"](keras.layers.Add()([x, parts["block_mlp_project"](y)]))


def test_a_pooler_is_left_out_on_request():
    assert kerasdl.build("bert_tiny", **{**kerasdl.spec("bert_tiny").tiny, "pooler": False}).output_shape == (
        None,
        8,
        32,
    )


HEADS = ("bert_tiny", "distilbert", "roberta", "albert", "electra")


@pytest.mark.parametrize("name", [f"{name}_classifier" for name in HEADS])
def test_heads_are_replaced_as_those_of_images_are(name):
    model = small(name)
    other = replace_head(model, 5)
    inputs = texts(model)
    assert other(inputs).shape == (2, 5)
    assert np.ptp(np.asarray(model(inputs)), axis=0).min() > 1e-3
    for layer in other.layers:
        if layer.weights and layer.name != "head":
            for mine, theirs in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)


REFUSED = {
    "depth": (("bert_tiny", {"depth": 0}), "depth must be"),
    "albert's depth": (("albert_base", {"depth": 0}), "depth must be"),
    "length": (("bert_tiny", {"length": 17}), "at most 16 places"),
    "roberta's length": (("roberta_base", {"length": 17}), "at most 16 places"),
    "dropout": (("bert_tiny", {"dropout": 1.5}), "dropout must be a number from 0"),
    "heads": (("bert_tiny", {"heads": 5}), "heads must divide the width 32"),
    "encoder": (("bert_classifier", {"encoder": "bert_huge"}), "encoder must be one of"),
    "classes": (("bert_tagger", {"classes": 0}), "classes must be"),
    "embedding": (("bert_classifier", {"embedding": 8}), "embedding is for albert_base and electra_small"),
    "segments": (("distilbert_classifier", {"segment_ids": 2}), "Nets with more have the input segments"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    (name, changes), error = REFUSED[case]
    with pytest.raises(ArgumentError, match=error):
        small(name, **changes)
