"""GPT-2 and Llama's form: counts by the papers' tables, causality, tied logits, rotary positions and shared heads."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core.errors import ArgumentError

GPT2 = {
    "gpt2_small": (50_257, 1024, 768, 12),
    "gpt2_medium": (50_257, 1024, 1024, 24),
    "gpt2_large": (50_257, 1024, 1280, 36),
    "gpt2_xl": (50_257, 1024, 1600, 48),
    "gpt_nano": (512, 256, 128, 4),
}
LLAMA = {
    # vocabulary, width, depth, width of keys, hidden, whether queries, keys and values have biases, and logits weights
    "llama_7b": (32_000, 4096, 32, 4096, 11_008, False, True),
    "llama3_8b": (128_256, 4096, 32, 8 * 128, 14_336, False, True),
    "tinyllama_1b": (32_000, 2048, 22, 4 * 64, 5632, False, True),
    "qwen2_0_5b": (151_936, 896, 24, 2 * 64, 4864, True, False),
    "qwen2_1_5b": (151_936, 1536, 28, 2 * 128, 8960, True, False),
    "qwen2_7b": (152_064, 3584, 28, 4 * 128, 18_944, True, True),
}
NETS = ("gpt2_small", "llama_7b", "qwen2_0_5b")
TOKENS = np.random.default_rng(0).integers(1, 50, (2, 8)).astype("int32")


@pytest.mark.parametrize(("name", "table"), GPT2.items())
def test_count_of_gpt2_is_the_sum_of_its_table(name, table):
    vocabulary, positions, width, depth = table
    attention, perceptron, norm = 4 * (width**2 + width), 2 * 4 * width**2 + 5 * width, 2 * width
    total = (vocabulary + positions) * width + depth * (attention + perceptron + 2 * norm) + norm
    assert kerasdl.spec(name).params == total


@pytest.mark.parametrize(("name", "table"), LLAMA.items())
def test_count_of_llama_is_the_sum_of_its_table(name, table):
    vocabulary, width, depth, shared, hidden, is_biased, has_head = table
    attention = 2 * width**2 + 2 * width * shared + is_biased * (width + 2 * shared)
    block = attention + 3 * width * hidden + 2 * width
    assert kerasdl.spec(name).params == (1 + has_head) * vocabulary * width + depth * block + width


@pytest.mark.parametrize("name", NETS)
def test_later_tokens_change_no_logits_before_them(name, tiny):
    model, changed = tiny(name), TOKENS.copy()
    changed[:, 5:] = [[0, 0, 0], [9, 8, 7]]
    before, after = (np.asarray(model(each, training=False)) for each in (TOKENS, changed))
    np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-5)
    assert np.abs(after[:, 5:] - before[:, 5:]).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2_small", "qwen2_0_5b"])
def test_tied_logits_are_products_of_the_last_norm_with_the_embedding(name, tiny):
    model = tiny(name)
    inner = keras.Model(model.input, model.get_layer("norm").output)
    matrix = model.get_layer("embedding").embeddings.numpy()
    np.testing.assert_allclose(model(TOKENS), inner(TOKENS).numpy() @ matrix.T, atol=1e-4)


def test_order_of_tokens_counts_through_rotary_positions_alone(tiny):
    """The last token sees the same tokens in another order."""
    model, turned = tiny("llama_7b"), TOKENS.copy()
    turned[:, :7] = TOKENS[:, 6::-1]
    gap = np.abs(model(TOKENS)[:, -1] - model(turned)[:, -1]).max()
    assert gap > 1e-3
    model = kerasdl.build("llama_7b", **{**kerasdl.spec("llama_7b").tiny, "base": 1e9, "depth": 1})
    nearly = np.abs(model(TOKENS)[:, -1] - model(turned)[:, -1]).max()
    assert 0 < nearly < gap  # most pairs hardly turn


def test_keys_of_shared_heads_are_narrow(tiny):
    shapes = {part: tiny("llama_7b").get_layer(f"block1_attention_{part}").kernel.shape for part in ("query", "key")}
    assert shapes == {"query": (16, 16), "key": (16, 8)}


@pytest.mark.parametrize(
    ("name", "given", "rule"),
    [
        ("gpt2_small", {"vocabulary": 1}, "vocabulary must be"),
        ("gpt2_small", {"depth": 0}, "depth must be"),
        ("gpt2_small", {"dropout": 2.0}, "dropout must be"),
        ("gpt2_small", {"length": 17}, "at most 16 places"),
        ("gpt2_small", {"heads": 3}, "heads must divide"),
        ("llama_7b", {"vocabulary": 1}, "vocabulary must be"),
        ("llama_7b", {"depth": 0}, "depth must be"),
        ("llama_7b", {"shared_heads": 3}, "multiple of shared_heads"),
    ],
)
def test_arguments_that_break_their_rule_are_refused(name, given, rule):
    with pytest.raises(ArgumentError, match=rule):
        kerasdl.build(name, **{**kerasdl.spec(name).tiny, **given})


def test_a_text_longer_than_the_table_of_positions_is_refused():
    model = kerasdl.build("gpt2_small", **{**kerasdl.spec("gpt2_small").tiny, "length": None})
    with pytest.raises(ArgumentError, match="at most 16 places"):
        model(np.ones((1, 17), "int32"))
