"""T5 and BART of transformers beside ours: small ones, weights by a formula, their logits and what they write.

`python tests/support/seq2seq_peers.py` writes tests/frozen/seq2seq/ anew; it needs torch and transformers.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detector_peers import array_of

FROZEN = Path(__file__).parents[1] / "frozen" / "seq2seq"
LENGTHS, WRITTEN, WIDTH = (9, 4, 1, 7, 2, 5, 8, 3), 8, 3
LONGEST = {"length_penalty": 10.0, "early_stopping": "never"}
"""Settings by which the longest answers win; transformers divides by another power of the length than this library."""
T5 = dict(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=4, dropout_rate=0.0)
BART = dict(
    vocab_size=40,
    d_model=16,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    max_position_embeddings=24,
    dropout=0.0,
    forced_eos_token_id=None,
)


@dataclass(frozen=True)
class Case:
    """A class of transformers with its settings, and the special tokens of its decoder."""

    kind: str
    settings: dict
    padding: int
    start: int
    end: int


CASES = {
    "t5": Case("T5ForConditionalGeneration", T5, 0, 0, 1),
    "t5_v1_1": Case(
        "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, 0, 0, 1
    ),
    "bart": Case("BartForConditionalGeneration", BART, 1, 2, 2),
}


def pairs_of(case: Case) -> dict[str, np.ndarray]:
    """Returns sources of three lengths, and what the decoder reads, the start token first."""
    rng = np.random.default_rng(3)
    real = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    source = np.where(real, rng.integers(4, 40, real.shape), case.padding)
    target = rng.integers(4, 40, (len(LENGTHS), WRITTEN))
    target[:, 0] = case.start
    return {"source": source.astype("int32"), "target": target.astype("int32")}


def weights_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights of a name by the formula; the constant of BART's logits is 0, as in published files."""
    return np.zeros(shape, "float32") if name == "final_logits_bias" else array_of(name, shape)


def peer_of(case: Case):
    """Returns the peer of a case with weights by the formula; needs torch and transformers."""
    import torch
    import transformers

    make = getattr(transformers, case.kind)
    model = make(make.config_class(**case.settings, decoder_start_token_id=case.start)).eval()
    if getattr(model.config, "scale_decoder_outputs", True) is False:  # version 1.1 has a last layer of its own
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        for name, value in state_of(model).items():
            value.copy_(torch.from_numpy(weights_of(name, tuple(value.shape))))
    return model


def state_of(model) -> dict:
    """Returns the arrays that a file of the peer has: each tied one once, under its first name."""
    state, found = {}, set()
    for name, value in model.state_dict().items():
        if value.dtype.is_floating_point and value.data_ptr() not in found:
            found.add(value.data_ptr())
            state[name] = value
    return state


def answers_of(case: Case, model) -> dict[str, np.ndarray]:
    """Returns the logits of a peer, and the tokens that it writes greedily and by a beam; needs torch."""
    import torch

    pairs = {name: torch.from_numpy(array).long() for name, array in pairs_of(case).items()}
    seen = {"input_ids": pairs["source"], "attention_mask": (pairs["source"] != case.padding).long()}
    ways = {"greedy": {"num_beams": 1}, "beam": {"num_beams": WIDTH, **LONGEST}}
    ids = {"pad_token_id": case.padding, "eos_token_id": case.end, "decoder_start_token_id": case.start}
    with torch.no_grad():
        answers = {"logits": model(**seen, decoder_input_ids=pairs["target"]).logits.numpy()}
        for name, way in ways.items():
            written = model.generate(**seen, **ids, **way, do_sample=False, max_new_tokens=WRITTEN).numpy()[:, 1:]
            room = [(0, 0), (0, WRITTEN - written.shape[1])]
            answers[name] = np.pad(written, room, constant_values=case.padding).astype("int32")
    return answers


def write(name: str, case: Case, folder: Path) -> None:
    """Writes config, weights and answers of a peer into a folder."""
    model = peer_of(case)
    model.save_pretrained(folder / name)
    np.savez(folder / name / "answers.npz", **answers_of(case, model))


def freeze(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer, with its config and the shapes of its arrays."""
    model = peer_of(case)
    shapes = {key: list(value.shape) for key, value in state_of(model).items()}
    config = {key: value for key, value in model.config.to_dict().items() if isinstance(value, (str, int, float))}
    FROZEN.mkdir(exist_ok=True)
    texts = {"shapes": json.dumps(shapes), "config": json.dumps(config)}
    np.savez_compressed(FROZEN / f"{name}.npz", **texts, **answers_of(case, model))


if __name__ == "__main__":
    for name, case in CASES.items():
        if len(sys.argv) > 1:
            write(name, case, Path(sys.argv[1]))
        else:
            freeze(name, case)
