"""Mean IoU of the embedded U-Net before and after training with rounding, and of its int8 file by the file's runtime.

`python benchmarks/segmenter_rounding.py` takes 44 processor seconds.
"""

import tempfile
from pathlib import Path

import numpy as np

import kerasdl
from kerasdl.deploy import quantize_aware, run_exported
from kerasdl.losses import PixelCrossEntropy
from kerasdl.metrics import MeanIoU
from kerasdl.train import RunConfig

LEARNT, TESTED, BATCH = 256, 200, 8


def main() -> dict[str, float]:
    """Returns the mean IoU on test scenes of the float network, of the rounded one, and of its file."""
    network = kerasdl.load_bundle("shapes_unet").networks["model"]
    (pixels, maps), (others, truth) = (
        (images, labels["semantic"])
        for images, labels in (
            kerasdl.data.load("shapes", split, size=size, labels="semantic").arrays()
            for split, size in (("train", LEARNT), ("test", TESTED))
        )
    )

    def mean_iou(logits: np.ndarray) -> float:
        metric = MeanIoU(logits.shape[-1])
        metric.update_state(truth, logits)
        return round(float(metric.result()), 4)

    config = RunConfig(epochs=1, batch_size=BATCH, learning_rate=3e-5, schedule="cosine", progress="off")
    rounded = quantize_aware(network, (pixels, maps), loss=PixelCrossEntropy(), config=config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rounded.tflite"
        rounded.export_tflite(path, samples=pixels[:64])
        answers = [run_exported(path, others[at : at + BATCH]) for at in range(0, TESTED, BATCH)]
    logits = np.concatenate([each for answer in answers for each in answer.values()])
    found = {"float": network.predict(others, batch_size=BATCH, verbose=0), "rounded": rounded.predict(others)}
    return {name: mean_iou(np.asarray(each)) for name, each in {**found, "int8 file": logits}.items()}


if __name__ == "__main__":
    print(main())
