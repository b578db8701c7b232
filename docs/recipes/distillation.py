"""Distillation of a ResNet into a net of a tenth of its size: `python docs/recipes/distillation.py`."""

import sys

import kerasdl
from kerasdl.data import augment
from kerasdl.train import RunConfig, distill, distill_features, fit

CHANGES = augment.Affine(rotate=12, shear=0.1, zoom=0.1, translate=0.06, fill=-1.0)


def net(channels: int):
    """Returns ResNet-18 with a given number of channels in its first stage."""
    return kerasdl.build("resnet18", image_shape=(32, 32, 1), channels=channels, stages=(1, 1, 1), classes=10)


def accuracy(model, data) -> float:
    """Returns the accuracy of a net."""
    images, labels = data.arrays()
    return float((model.predict(images, verbose=0).argmax(1) == labels).mean())


def compare(seed: int) -> dict[str, float]:
    """Returns the test accuracy of the teacher, of a student alone, with the teacher, and with hints before that."""
    test = kerasdl.data.load("digits", "test")
    full, few = kerasdl.data.load("digits", "train"), kerasdl.data.load("digits", "train").per_class(10, seed=seed)
    common = dict(batch_size=32, learning_rate=3e-3, schedule="cosine", augment=CHANGES, seed=seed, progress="off")
    kerasdl.set_seed(seed)
    teacher = net(32)
    fit(teacher, full, config=RunConfig(epochs=15, **common))
    kerasdl.set_seed(seed)
    students = {name: net(9) for name in ("alone", "taught", "hinted, then taught")}
    for student in students.values():
        student.set_weights(students["alone"].get_weights())
    config, middle = RunConfig(epochs=80, **common), "stage2_block1_out"
    fit(students["alone"], few, config=config)
    # The teacher has seen all digits; the students' labels are ten of each.
    hinted = students["hinted, then taught"]
    distill_features(hinted, teacher, few, guided=middle, hint=middle, config=RunConfig(epochs=20, **common))
    for student in (students["taught"], hinted):
        distill(student, teacher, few, temperature=4.0, alpha=0.9, config=config)
    print(f"seed {seed}: {teacher.count_params():,} weights teach {hinted.count_params():,}", flush=True)
    return {name: accuracy(each, test) for name, each in {"teacher": teacher, **students}.items()}


if __name__ == "__main__":
    for seed in map(int, sys.argv[1:] or ("0", "1", "2")):
        print(", ".join(f"{name} {figure:.4f}" for name, figure in compare(seed).items()), flush=True)
