"""Transfer from letters to digits for five nets, against training from scratch. `python docs/recipes/transfer.py`."""

import sys

import kerasdl
from kerasdl.blocks import replace_head
from kerasdl.train import RunConfig, finetune, fit

SHAPE = (32, 32, 3)
NETS = {
    "resnet18": dict(stages=(1, 1, 1), channels=24),
    "mobilenet_v2": dict(stages=((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)), last_channels=128, width=0.75),
    "efficientnet_v2_b0": dict(
        stages=((True, 1, 16, 1, 1), (True, 4, 24, 1, 2), (False, 4, 48, 2, 2)), stem=16, last_channels=128
    ),
    "convnext_tiny": dict(stages=(1, 2), channels=(32, 64)),
    "vit_tiny": dict(patch=8, width=64, depth=3, heads=4),
}


def compare(name: str, seed: int = 0) -> tuple[float, float]:
    """Returns the test accuracy on digits, ten images of each, pretrained on letters and from scratch."""
    letters = kerasdl.data.load("glyphs", "train", size=5200, image_shape=SHAPE)
    few = kerasdl.data.load("digits", "train", image_shape=SHAPE).per_class(10, seed=seed)
    images, labels = kerasdl.data.load("digits", "test", image_shape=SHAPE).arrays()
    common = dict(schedule="cosine", weight_decay=1e-2, seed=seed, progress="off")

    def right(model) -> float:
        return float((model.predict(images, verbose=0).argmax(1) == labels).mean())

    kerasdl.set_seed(seed)
    pretrained = kerasdl.build(name, image_shape=SHAPE, classes=26, **NETS[name])
    fit(pretrained, letters, config=RunConfig(epochs=5, batch_size=64, learning_rate=3e-3, **common))
    short = RunConfig(epochs=30, batch_size=16, learning_rate=3e-3, **common)
    tuned = replace_head(pretrained, 10)
    finetune(tuned, few, freeze_epochs=8, groups=3, layer_decay=0.7, train_norms=True, config=short)
    scratch = kerasdl.build(name, image_shape=SHAPE, classes=10, **NETS[name])
    fit(scratch, few, config=short)
    return right(tuned), right(scratch)


if __name__ == "__main__":
    for name in sys.argv[1:] or NETS:
        print("| `{}` | {:.3f} | {:.3f} |".format(name, *compare(name)), flush=True)
