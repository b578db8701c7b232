"""Text encoders of transformers beside ours: small ones, weights by a formula, and their answers to drawn texts.

`python tests/support/text_encoder_peers.py` writes tests/frozen/encoders/ anew; it needs torch and transformers.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detector_peers import array_of

FROZEN = Path(__file__).parents[1] / "frozen" / "encoders"
SIZES = dict(
    vocab_size=60,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=20,
)
DISTILBERT = dict(vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=20)
LENGTHS = (12, 7, 1)


@dataclass(frozen=True)
class Case:
    """A class of transformers with its settings, and its outputs by the names of ours."""

    kind: str
    settings: dict
    outputs: dict
    segments: bool = True


STATES = {"hidden_states": "last_hidden_state"}
POOLED = {**STATES, "pooled": "pooler_output"}
LOGITS = {"logits": "logits"}
ROBERTA = {**SIZES, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
CASES = {
    "bert": Case("BertModel", SIZES, POOLED),
    "bert_classifier": Case("BertForSequenceClassification", {**SIZES, "num_labels": 3}, LOGITS),
    "bert_tagger": Case("BertForTokenClassification", {**SIZES, "num_labels": 5}, LOGITS),
    "bert_tanh": Case("BertModel", {**SIZES, "hidden_act": "gelu_new"}, POOLED),
    "distilbert": Case("DistilBertModel", DISTILBERT, STATES, False),
    "distilbert_classifier": Case(
        "DistilBertForSequenceClassification", {**DISTILBERT, "num_labels": 3}, LOGITS, False
    ),
    "roberta": Case("RobertaModel", ROBERTA, POOLED, False),
    "roberta_classifier": Case("RobertaForSequenceClassification", {**ROBERTA, "num_labels": 3}, LOGITS, False),
    "albert": Case("AlbertModel", {**SIZES, "embedding_size": 16}, POOLED),
    "albert_classifier": Case(
        "AlbertForSequenceClassification", {**SIZES, "embedding_size": 16, "num_labels": 3}, LOGITS
    ),
    "electra": Case("ElectraModel", {**SIZES, "embedding_size": 16}, STATES),
    "electra_classifier": Case(
        "ElectraForSequenceClassification", {**SIZES, "embedding_size": 16, "num_labels": 3}, LOGITS
    ),
}


def texts_of(case: Case) -> dict[str, np.ndarray]:
    """Returns tokens and, where the net reads them, segments of three texts, padded behind."""
    rng, padding = np.random.default_rng(3), case.settings.get("pad_token_id", 0)
    tokens = rng.integers(4, 60, (len(LENGTHS), max(LENGTHS)))
    real = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    segments = (np.arange(max(LENGTHS)) >= 4) & real
    texts = {"tokens": np.where(real, tokens, padding).astype("int32"), "segments": segments.astype("int32")}
    return texts if case.segments else {"tokens": texts["tokens"]}


def peer_of(case: Case):
    """Returns the peer of a case with weights by the formula; needs torch and transformers."""
    import torch
    import transformers

    make = getattr(transformers, case.kind)
    model = make(make.config_class(**case.settings)).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                value.copy_(torch.from_numpy(array_of(name, tuple(value.shape))))
    return model


def answers_of(case: Case, model) -> dict[str, np.ndarray]:
    """Returns the outputs of a peer by the names of ours; needs torch."""
    import torch

    texts = {name: torch.from_numpy(array).long() for name, array in texts_of(case).items()}
    named = {"input_ids": texts["tokens"], "attention_mask": (texts["tokens"] != model.config.pad_token_id).long()}
    if case.segments:
        named["token_type_ids"] = texts["segments"]
    with torch.no_grad():
        given = model(**named)
    return {ours: getattr(given, theirs).numpy() for ours, theirs in case.outputs.items()}


def write(name: str, case: Case, folder: Path) -> None:
    """Writes config, weights and answers of a peer into a folder."""
    model = peer_of(case)
    model.save_pretrained(folder / name)
    np.savez(folder / name / "answers.npz", **answers_of(case, model))


def freeze(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer, with its config and the shapes of its arrays."""
    model = peer_of(case)
    state = {key: value for key, value in model.state_dict().items() if value.dtype.is_floating_point}
    shapes = {key: list(value.shape) for key, value in state.items()}
    config = {key: value for key, value in model.config.to_dict().items() if isinstance(value, (str, int, float))}
    config |= {"architectures": [case.kind], "id2label": model.config.id2label}
    FROZEN.mkdir(exist_ok=True)
    texts = {"shapes": json.dumps(shapes), "config": json.dumps(config)}
    answers = {key: value.astype("float32") for key, value in answers_of(case, model).items()}
    np.savez_compressed(FROZEN / f"{name}.npz", **texts, **answers)


if __name__ == "__main__":
    for name, case in CASES.items():
        if len(sys.argv) > 1:
            write(name, case, Path(sys.argv[1]))
        else:
            freeze(name, case)
