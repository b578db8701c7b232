"""Packed documents: each has the logits that it has alone, whatever stands beside it."""

import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.sequence import packed_model
from kerasdl.train import RunConfig, fit

NAMES = ("gpt_nano", "qwen2_0_5b")
FIRST, OWN, OTHER = [9, 7, 5], [5, 6, 8, 3], [12, 4]


def tiny(name):
    return fill_weights(kerasdl.build(name, **{**kerasdl.spec(name).tiny, "length": None}))


def packed(*documents):
    numbers = np.repeat(np.arange(1, len(documents) + 1), [len(each) for each in documents])
    return {"tokens": np.concatenate(documents)[None].astype("int32"), "documents": numbers[None].astype("int32")}


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_a_document_do_not_depend_on_its_neighbours(name):
    model = tiny(name)
    both = packed_model(model)
    alone = np.asarray(model(np.array([OWN], "int32")))[0]
    for documents, start in (([FIRST, OWN, OTHER], 3), ([OTHER, OWN], 2), ([OWN, FIRST], 0)):
        beside = np.asarray(both(packed(*documents)))[0, start : start + len(OWN)]
        np.testing.assert_allclose(beside, alone, atol=1e-5)
    joined = np.asarray(model(packed(FIRST, OWN)["tokens"]))[0, 3:]
    assert np.abs(joined - alone).max() > 1e-3  # which the bare model does not do


def test_packed_rows_train_the_model_itself():
    model = kerasdl.build("gpt_nano", length=6, vocabulary=20, width=8, depth=1, heads=2)
    before = [np.array(each) for each in model.weights]
    data = kerasdl.data.text.pack_documents([OWN, FIRST, OTHER], 6)
    config = RunConfig(epochs=1, learning_rate=0.1, strategy=None, progress="off")
    fit(packed_model(model), data, task="language_modeling", config=config)
    assert all((old != np.array(new)).any() for old, new in zip(before, model.weights, strict=True) if new.ndim > 1)


def test_nets_that_would_mix_documents_are_refused():
    recurrent = kerasdl.build("gru_language_model", **kerasdl.spec("gru_language_model").tiny)
    with pytest.raises(ArgumentError, match="with a cache must"):
        packed_model(recurrent)
