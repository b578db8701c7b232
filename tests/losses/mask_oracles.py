"""Losses of segmentation in plain NumPy, image by image, class by class, pixel by pixel."""

import numpy as np

from kerasdl import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 4, 5, 3)).astype("float32")
LABELS = RNG.integers(0, 3, (3, 4, 5)).astype("uint8")
LABELS[0, 0], LABELS[1][LABELS[1] == 2] = 255, 1  # ignored pixels, and an image without the last class
DISTANCES = RNG.normal(size=LOGITS.shape).astype("float32")


def softmax(logits):
    shares = np.exp(logits.astype(float) - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def by_class(formula):
    """The mean over images and the classes that each has, of a formula of true and predicted foreground (N,)."""

    def mean(labels, logits):
        images = []
        for label, p in zip(labels, softmax(logits), strict=True):
            counted = label != 255
            truth, p = label[counted], p[counted]
            images.append(np.mean([formula((truth == k).astype(float), p[:, k]) for k in np.unique(truth)]))
        return np.mean(images)

    return mean


def dice(truth, p):
    return 1 - (2 * (truth * p).sum() + 1) / (truth.sum() + p.sum() + 1)


def tversky(truth, p):
    both = (truth * p).sum()
    return 1 - (both + 1) / (both + 0.3 * (p * (1 - truth)).sum() + 0.7 * (truth * (1 - p)).sum() + 1)


def focal_tversky(truth, p):
    return tversky(truth, p) ** 0.75


def jaccard_loss(truth, wrong):
    """1 - IoU of the mask that is wrong in a set of pixels: |wrong| / |truth or wrong|."""
    union = set(np.flatnonzero(truth)) | wrong
    return len(wrong) / len(union) if union else 0.0


def extension(truth, errors):
    """The Lovasz extension of the Jaccard loss: pixels become wrong one by one, those of the largest errors first."""
    total, wrong = 0.0, set()
    for pixel in np.argsort(-errors):
        more = wrong | {pixel}
        total += errors[pixel] * (jaccard_loss(truth, more) - jaccard_loss(truth, wrong))
        wrong = more
    return total


def lovasz_softmax(truth, p):
    return extension(truth, np.abs(truth - p))


def lovasz_hinge(labels, logits):
    images = []
    for label, scores in zip(labels, logits.astype(float), strict=True):
        counted = label != 255
        truth = (label[counted][:, None] == np.arange(3)).astype(float)
        errors = np.maximum(1 - scores[counted] * (2 * truth - 1), 0)
        images.append(np.mean([extension(truth[:, k], errors[:, k]) for k in range(3)]))
    return np.mean(images)


def boundary(distances, logits):
    return (distances * softmax(logits)).sum(axis=-1).mean()


def ohem_cross_entropy(labels, logits):
    images = []
    for label, p in zip(labels, softmax(logits), strict=True):
        counted = label != 255
        p = np.sort(np.take_along_axis(p[counted], label[counted][:, None].astype(int), axis=-1)[:, 0])
        hard = max((p < 0.4).sum(), int(np.ceil(0.5 * len(p))))
        images.append(-np.log(p[:hard]).mean())
    return np.mean(images)


def pixel_cross_entropy(labels, logits):
    images = []
    for label, p in zip(labels, softmax(logits), strict=True):
        counted = label != 255
        p = np.take_along_axis(p[counted], label[counted][:, None].astype(int), axis=-1)
        images.append(-np.log(p).mean())
    return np.mean(images)


CASES = {
    "Dice": (losses.Dice, by_class(dice), LABELS, LOGITS),
    "Tversky": (losses.Tversky, by_class(tversky), LABELS, LOGITS),
    "FocalTversky": (losses.FocalTversky, by_class(focal_tversky), LABELS, LOGITS),
    "LovaszSoftmax": (losses.LovaszSoftmax, by_class(lovasz_softmax), LABELS, LOGITS),
    "LovaszHinge": (losses.LovaszHinge, lovasz_hinge, LABELS, LOGITS),
    "Boundary": (losses.Boundary, boundary, DISTANCES, LOGITS),
    "PixelCrossEntropy": (losses.PixelCrossEntropy, pixel_cross_entropy, LABELS, LOGITS),
    "OHEMCrossEntropy": (lambda: losses.OHEMCrossEntropy(0.4, 0.5), ohem_cross_entropy, LABELS, LOGITS),
}
