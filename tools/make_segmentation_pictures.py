"""Pictures of docs/segmenting.md: errors and borders of a U-Net, skip connections, checkerboards, ASPP rates.

python tools/make_segmentation_pictures.py takes 60 processor seconds, since three small U-Nets are trained on cells.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import kerasdl
from kerasdl.data import augment
from kerasdl.data.segmentation import draw_cells
from kerasdl.losses import PixelCrossEntropy
from kerasdl.metrics import BoundaryF1
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FALSE, MISSED, MIXED = (214, 69, 65), (52, 120, 200), (235, 170, 50)
SIDE, TRAIN, EPOCHS = 96, 160, 4
NETS = {"transpose": {}, "no skips": {"skips": False}, "resize": {"up": "resize"}}
"""U-Nets that are trained, with their arguments."""
SCENE, CLOSE = 4, 26
"""Number of the test scene, and the side in pixels of the close-up."""
RATES, MAP = {6: "#2563eb", 12: "#ea580c", 24: "#16a34a", 36: "#111111"}, 65
"""Rates with their colours, and the side of the map in places."""


def main(folder: Path = PICTURES) -> None:
    """Draws all of them into a folder."""
    draw_rates(folder / "aspp_rates.png")
    draw_errors(folder / "segmentation_errors.png")
    nets = {name: trained(**settings) for name, settings in NETS.items()}
    draw_skips(nets, folder / "skip_connections.png")
    draw_checkerboards(nets, folder / "checkerboards.png")


def draw_errors(path: Path) -> None:
    """Draws a scene, its classes by the embedded U-Net, the errors and a close-up of the borders."""
    data = kerasdl.data.load("shapes", "test", size=SCENE + 1, labels="semantic", scale=None)
    image, true = data[SCENE][0], data[SCENE][1]["semantic"]
    bundle = kerasdl.load_bundle("shapes_unet")
    found = Segmenter(bundle.model).predict(image)[0]
    errors = error_map(image, true, found)
    top, left = busiest(true != found)
    part = slice(top, top + CLOSE), slice(left, left + CLOSE)
    figure = Figure(figsize=(12, 3.9), dpi=80, layout="constrained")
    axes = figure.subplots(1, 4)
    axes[0].imshow(image)
    axes[0].set_title("scene")
    axes[1].imshow(coloured(image, found))
    axes[1].set_title("classes that U-Net finds")
    axes[2].imshow(errors)
    axes[2].set_title(f"{100 * (true != found).mean():.1f} % of the pixels are wrong")
    axes[2].plot(*edges_of(top, left, CLOSE), color="black", linewidth=1)
    for colour, name in ((FALSE, "ground taken for an object"), (MISSED, "missed object"), (MIXED, "another class")):
        axes[2].plot([], [], "s", color=np.array(colour) / 255, label=name)
    axes[3].imshow(image[part])
    axes[3].set_title("close-up of the borders")
    for each, colour, name in ((true, "black", "true border"), (found, "#d64541", "found border")):
        for number in set(each[part].flat) - {0}:
            axes[3].contour(each[part] == number, levels=[0.5], colors=colour, linewidths=1.8)
        axes[3].plot([], [], color=colour, label=name)
    for axis in axes[2:]:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize=7, frameon=False)
    save(figure, axes, path)


def error_map(image: np.ndarray, true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Returns a pale image with the pixels coloured that are false, missed, or of another class."""
    picture = 255 - (255 - image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)) * 0.35
    wrong = true != found
    picture[wrong & (true == 0)] = FALSE
    picture[wrong & (found == 0)] = MISSED
    picture[wrong & (true > 0) & (found > 0)] = MIXED
    return picture.astype(np.uint8)


def coloured(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns an image with its pixels tinted by class."""
    return kerasdl.core.draw_classes(image, classes, least_side=1)[: len(image), : image.shape[1]]


def busiest(wrong: np.ndarray) -> tuple[int, int]:
    """Returns the top and left of the close-up with the most wrong pixels."""
    sums = np.pad(wrong.astype(int), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    counts = sums[CLOSE:, CLOSE:] - sums[:-CLOSE, CLOSE:] - sums[CLOSE:, :-CLOSE] + sums[:-CLOSE, :-CLOSE]
    top, left = np.unravel_index(counts.argmax(), counts.shape)
    return int(top), int(left)


def edges_of(top: int, left: int, side: int) -> tuple[list[float], list[float]]:
    """Returns the corners of a square as lines."""
    right, bottom = left + side, top + side
    return [left, right, right, left, left], [top, top, bottom, bottom, top]


def trained(**settings) -> Segmenter:
    """Returns a small U-Net that was trained on cells."""
    kerasdl.set_seed(0)
    network = kerasdl.build("unet", image_shape=(SIDE, SIDE, 1), channels=8, depth=3, **settings)
    config = RunConfig(
        epochs=EPOCHS,
        batch_size=8,
        learning_rate=5e-3,
        schedule="cosine",
        augment=augment.Flip(0.5, 0.5),
        progress="off",
    )
    return fit(
        Segmenter(network, loss=PixelCrossEntropy()), draw_cells(TRAIN, side=SIDE).prepared(), config=config
    ).trainer


def draw_skips(nets: dict[str, Segmenter], path: Path) -> None:
    """Draws what U-Net finds with and without its skip connections."""
    test = draw_cells(40, side=SIDE, split="test", weights=False)
    images, labels = test.prepared().arrays()
    figure = Figure(figsize=(9, 3.6), dpi=80, layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(test.source.inputs[0][..., 0], cmap="gray")
    axes[0].set_title("picture", fontsize=9)
    for axis, name in zip(axes[1:], ("transpose", "no skips"), strict=True):
        scores = nets[name].segment(images)
        borders = BoundaryF1(test.class_names, tolerance=1)
        borders.update_state(labels["semantic"], scores.argmax(axis=-1))
        iou = float(nets[name].mean_iou(test.prepared()).result())
        axis.imshow(scores[0, ..., 1], cmap="gray", vmin=0, vmax=1)
        title = "with skip connections" if name == "transpose" else "without"
        axis.set_title(f"{title}:\nmean IoU {iou:.2f}, F1 of borders {borders.result()['boundary_F1']:.2f}", fontsize=9)
        print(f"{title}: mean IoU {iou:.3f}, F1 of the borders within a pixel {borders.result()['boundary_F1']:.3f}")
    save(figure, axes, path)


def draw_checkerboards(nets: dict[str, Segmenter], path: Path) -> None:
    """Draws the answers to a plain grey image of trained decoders that enlarge in two ways, and a part of each."""
    figure = Figure(figsize=(9, 2.9), dpi=80, layout="constrained")
    axes = figure.subplots(1, 4)
    for place, (up, words) in enumerate((("transpose", "transposed convolution"), ("resize", "resize, then convolve"))):
        logits = nets[up].main.predict(np.zeros((1, SIDE, SIDE, 1), "float32"), verbose=0)[0, ..., 1]
        inner = logits[24:-24, 24:-24]
        print(f"{words}: {unevenness(inner):.4f}")
        axes[2 * place].imshow(logits, cmap="gray")
        axes[2 * place].set_title(words, fontsize=9)
        axes[2 * place + 1].imshow(inner[:16, :16], cmap="gray", vmin=logits.min(), vmax=logits.max())
        axes[2 * place + 1].set_title(f"16 pixels, unevenness {unevenness(inner):.2f}", fontsize=9)
    save(figure, axes, path)


def unevenness(values: np.ndarray) -> float:
    """Returns the standard deviation of logits over a plain image, where all should be equal."""
    return float(values.std())


def draw_rates(path: Path) -> None:
    """Draws the places that a 3x3 convolution reads at each rate, and the share of its nine taps inside the map."""
    figure = Figure(figsize=(8.5, 3.6), dpi=80, layout="constrained")
    taps, shares = figure.subplots(1, 2, width_ratios=[1, 1.4])
    middle = MAP // 2
    for rate, colour in RATES.items():
        steps = [(row, column) for row in (-rate, 0, rate) for column in (-rate, 0, rate)]
        inside = np.array([step for step in steps if np.abs(step).max() <= middle]) + middle
        taps.scatter(inside[:, 1], inside[:, 0], s=90 - 2 * rate, c=colour, marker="s", label=f"rate {rate}")
    taps.set(xlim=(-1, MAP), ylim=(MAP, -1), aspect="equal", title=f"places read for the middle of {MAP} x {MAP}")
    taps.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False, markerscale=0.8)
    rates = np.arange(1, MAP + 6)
    for number, line in ((9, "-"), (6, "--"), (4, ":"), (1, "-.")):
        label = "1 tap: a 1x1 convolution" if number == 1 else f"{number} taps"
        shares.plot(rates, [taps_inside(rate).get(number, 0.0) for rate in rates], line, label=label)
    shares.set(xlabel="rate", ylabel="share of places", title="taps that lie inside the map")
    shares.legend(fontsize=7, loc="center right")
    save(figure, (), path)


def taps_inside(rate: int) -> dict[int, float]:
    """Returns the share of places of the map by the number of taps of a 3x3 convolution that lie inside it."""
    places = np.arange(MAP)
    along = 1 + (places >= rate).astype(int) + (places < MAP - rate)
    counts = np.multiply.outer(along, along)
    return {int(number): float((counts == number).mean()) for number in np.unique(counts)}


def save(figure: Figure, axes, path: Path) -> None:
    """Writes a figure in few colours, its axes without frames."""
    for axis in axes:
        axis.axis("off")
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(256, kmeans=2).save(path, optimize=True)


if __name__ == "__main__":
    main()
