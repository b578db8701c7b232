"""Decoders of transformers beside ours: small ones, weights by a formula, their logits and what they write.

`python tests/support/decoder_peers.py` writes tests/frozen/decoders/ anew; it needs torch and transformers.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detector_peers import array_of

FROZEN = Path(__file__).parents[1] / "frozen" / "decoders"
GPT2 = dict(vocab_size=60, n_positions=24, n_embd=32, n_layer=3, n_head=4)
LLAMA = dict(vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48)
LENGTHS, WRITTEN = (9, 5, 1), 12


@dataclass(frozen=True)
class Case:
    """A class of transformers with its settings."""

    kind: str
    settings: dict


CASES = {
    "gpt2": Case("GPT2LMHeadModel", GPT2),
    "llama": Case("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 2}),
    "qwen2": Case("Qwen2ForCausalLM", {**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True}),
}


def prompts_of() -> list[list[int]]:
    """Returns three prompts of different length."""
    rng = np.random.default_rng(3)
    return [rng.integers(1, 60, length).tolist() for length in LENGTHS]


def zeros_of() -> list[list[int]]:
    """Returns prompts in which the token 0 stands at the start, inside and at the end, and alone."""
    return [[0, 5, 17, 4], [9, 0, 0, 3, 0], [21, 0], [0]]


def weights_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights of a name by the formula, larger in tables, so that likeliest tokens stand out."""
    return array_of(name, shape) * np.float32(4.0 if len(shape) == 2 else 1.0)


def peer_of(case: Case):
    """Returns the peer of a case with weights by the formula; needs torch and transformers."""
    import torch
    import transformers

    make = getattr(transformers, case.kind)
    model = make(make.config_class(**case.settings)).eval()
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


def answers_of(model) -> dict[str, np.ndarray]:
    """Returns the logits of the longest prompt, and the tokens behind each that the peer writes; needs torch."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([prompts_of()[0]])).logits.numpy()
    greedy = written_by(model, prompts_of(), suppress_tokens=[0])
    return {"logits": logits, "greedy": greedy, "zeros": written_by(model, zeros_of())}


def written_by(model, prompts: list[list[int]], **way) -> np.ndarray:
    """Returns what the peer writes behind each prompt alone; needs torch."""
    import torch

    way |= {"do_sample": False, "max_new_tokens": WRITTEN, "pad_token_id": 0, "eos_token_id": None}
    rows = []
    with torch.no_grad():
        for prompt in map(torch.tensor, prompts):
            each = prompt[None]
            rows.append(model.generate(each, attention_mask=torch.ones_like(each), **way)[0, each.shape[1] :].numpy())
    return np.stack(rows).astype("int32")


def write(name: str, case: Case, folder: Path) -> None:
    """Writes config, weights in shards and answers of a peer into a folder."""
    model = peer_of(case)
    model.save_pretrained(folder / name, max_shard_size="20KB")
    np.savez(folder / name / "answers.npz", **answers_of(model))


def freeze(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer, with its config and the shapes of its arrays."""
    model = peer_of(case)
    shapes = {key: list(value.shape) for key, value in state_of(model).items()}
    config = {key: value for key, value in model.config.to_dict().items() if isinstance(value, (str, int, float, dict))}
    FROZEN.mkdir(exist_ok=True)
    texts = {"shapes": json.dumps(shapes), "config": json.dumps(config)}
    np.savez_compressed(FROZEN / f"{name}.npz", **texts, **answers_of(model))


if __name__ == "__main__":
    for name, case in CASES.items():
        if len(sys.argv) > 1:
            write(name, case, Path(sys.argv[1]))
        else:
            freeze(name, case)
