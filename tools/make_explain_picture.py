"""Picture of docs/explaining.md: where the embedded ImageNet net looks in two photos, by five methods."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images

import kerasdl
from kerasdl import explain
from kerasdl.data import prepare_images

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "explanations.jpg"
SHAPE = (224, 224, 3)


def main(path: Path = PICTURE) -> None:
    """Draws both photos and their maps."""
    bundle = kerasdl.load_bundle("imagenet_efficientnet_lite0")
    photos = [image[:, 100:527] if image.shape[1] > 527 else image for image in load_sample_images().images]
    inputs = prepare_images(photos, SHAPE, (-1.0, 1.0))
    names = [each["label"] for each in bundle.predict(photos)]
    maps = {
        "Grad-CAM": explain.grad_cam(bundle, inputs),
        "LayerCAM": explain.layer_cam(bundle, inputs),
        "occlusion": explain.as_map(np.maximum(explain.occlusion(bundle, inputs, size=48, stride=24), 0.0)),
        "integrated gradients": explain.as_map(explain.integrated_gradients(bundle, inputs, steps=32)),
        "SmoothGrad": explain.as_map(explain.smooth_grad(bundle, inputs, samples=16)),
    }
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(2, len(maps) + 1)
    for row, name in enumerate(names):
        pixels = np.round((inputs[row] + 1.0) * 127.5).astype("uint8")
        axes[row][0].imshow(pixels)
        axes[row][0].set_title(name, fontsize=9)
        for column, (method, heat) in enumerate(maps.items(), start=1):
            axes[row][column].imshow(explain.draw_heat(pixels, heat[row]))
            axes[row][column].set_title(method, fontsize=9)
        for each in axes[row]:
            each.axis("off")
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
