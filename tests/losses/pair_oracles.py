"""Losses of embeddings by loops over pairs, in NumPy."""

import numpy as np

from kerasdl import losses

CLASSES = np.array([0, 0, 1, 1, 2, 0])
VECTORS = np.random.default_rng(2).normal(size=(6, 3)).astype("float32")
DOCUMENTS = np.random.default_rng(3).normal(size=(6, 2, 3)).astype("float32")


def others(classes, place):
    return [k for k in range(len(classes)) if k != place]


def triplet(classes, vectors):
    total = 0.0
    for a in range(len(vectors)):
        far = [np.linalg.norm(vectors[a] - vectors[k]) for k in others(classes, a) if classes[k] == classes[a]]
        near = [np.linalg.norm(vectors[a] - vectors[k]) for k in others(classes, a) if classes[k] != classes[a]]
        total += max(max(far) - min(near) + 0.2, 0.0) if far and near else 0.0
    return total / len(vectors)


def contrastive(classes, vectors):
    total = 0.0
    for a in range(len(vectors)):
        for k in others(classes, a):
            far = np.linalg.norm(vectors[a] - vectors[k])
            total += (far**2 if classes[k] == classes[a] else max(1.0 - far, 0.0) ** 2) / 2 / (len(vectors) - 1)
    return total / len(vectors)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def nt_xent(classes, vectors):
    total = 0.0
    for a in range(len(vectors)):
        powers = {k: np.exp(cosine(vectors[a], vectors[k]) / 0.5) for k in others(classes, a)}
        alike = [k for k in powers if classes[k] == classes[a]]
        total += np.mean([-np.log(powers[k] / sum(powers.values())) for k in alike]) if alike else 0.0
    return total / len(vectors)


def info_nce(numbers, pairs):
    total = 0.0
    for a in range(len(pairs)):
        seen = [k for k in range(len(pairs)) if k == a or numbers[k] != numbers[a]]
        powers = {k: np.exp(cosine(pairs[a, 0], pairs[k, 1]) / 0.05) for k in seen}
        total -= np.log(powers[a] / sum(powers.values()))
    return total / len(pairs)


OF_PAIRS = {
    "Triplet": (losses.Triplet, triplet, CLASSES, VECTORS),
    "Contrastive": (losses.Contrastive, contrastive, CLASSES, VECTORS),
    "NTXent": (losses.NTXent, nt_xent, CLASSES, VECTORS),
    "InfoNCE": (losses.InfoNCE, info_nce, CLASSES, DOCUMENTS),
}
