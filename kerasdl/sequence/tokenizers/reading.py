"""Reading of tokenizers from the files of other libraries: of Hugging Face, BERT, GPT-2 and SentencePiece."""

import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

from kerasdl.core import checks
from kerasdl.core.errors import DataError, first_line

from .documents import MAX_BYTES, guarded, refuse
from .sentencepiece_models import tokenizer_json
from .text_tokenizer import Tokenizer

# Files of a folder in the order in which they are looked for; a pair is vocabulary and merges.
NAMES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "encoder.json", "encoder.json.gz"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
)
MERGES = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe", "encoder.json.gz": "vocab.bpe.gz"}


def load_tokenizer(path: str | os.PathLike, *, lowercase: bool | None = None, padding: str | None = None) -> Tokenizer:
    """Reads a tokenizer from files of another library; no code is executed.

    Args:
        path: a `tokenizer.json` of Hugging Face, a `vocab.txt` of BERT, a `vocab.json` of GPT-2 with its `merges.txt`
            beside it (also `encoder.json` with `vocab.bpe`, and both as `.gz`), a `.model` of SentencePiece (unigram
            or BPE; extra `text`), or a folder with one of them, looked for in this order.
        lowercase: whether a `vocab.txt` is of small letters; None looks whether a token has a capital.
        padding: a padding token to add behind the vocabulary, for files without one.

    Returns:
        A `Tokenizer` that encodes as the library of its file does.

    Raises:
        ArgumentError: `lowercase` is given for a file that states it, or `padding` for one that has a padding token.
        DataError: the file is missing, too large, damaged, of another form, or its template is not in it.
        MissingPackageError: a `.model` needs sentencepiece, which is not installed.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing"]
        >>> _ = Path("vocab.txt").write_text("\\n".join(words))
        >>> load_tokenizer("vocab.txt").encode("Playing")
        [2, 4, 5, 3]
    """
    file = _file(Path(path).expanduser())
    if lowercase is not None and file.suffix != ".txt":
        checks.refuse("lowercase is for vocab.txt alone; other files state it", file.name)
    if file.suffix == ".txt":
        text = _bert(file, lowercase)
    elif file.name in MERGES:
        text = _gpt2(file)
    elif file.suffix == ".model":
        text = tokenizer_json(_content(file))
    else:
        text = _text(file)
    tokenizer = Tokenizer(text)
    return tokenizer if padding is None else _with_padding(tokenizer, padding)


def _file(path: Path) -> Path:
    if path.is_dir():
        there = [path / name for name in NAMES if (path / name).is_file()]
        if not there:
            raise DataError(f"{path} must hold one of {NAMES}; got {sorted(each.name for each in path.iterdir())[:8]}.")
        return there[0]
    if not path.is_file():
        raise DataError(f"no tokenizer's file at {path}. Give a file, or a folder with one of {NAMES}.")
    return path


def _content(path: Path) -> bytes:
    """Returns the content of a file of bounded size, unpacked where it is `.gz`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from None
    if len(content) > MAX_BYTES:
        refuse(f"{path.name} may have at most {MAX_BYTES} bytes", "more")
    return content


def _text(path: Path) -> str:
    try:
        return _content(path).decode()
    except UnicodeDecodeError as error:
        refuse(f"{path.name} must be text in UTF-8", f"{error.reason} at byte {error.start}")


def _bert(path: Path, lowercase: bool | None) -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    lines = [line.rstrip("\r") for line in _text(path).rstrip("\n").split("\n")]
    ids = {token: id for id, token in enumerate(lines)}
    named = [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in ids]
    missing = {"[UNK]", "[CLS]", "[SEP]"} - {*named}
    if missing or len(ids) != len(lines):
        got = f"no {sorted(missing)}" if missing else f"{len(lines) - len(ids)} tokens twice"
        refuse("vocab.txt of BERT must list each token once, [UNK], [CLS] and [SEP] among them", got)
    if lowercase is None:
        lowercase = not any(token != token.lower() for token in lines if not token.startswith("["))
    backend = Tokenizer(guarded(models.WordPiece, ids, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    backend.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in named])
    return backend.to_str()


def _gpt2(path: Path) -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    beside = path.with_name(MERGES[path.name])
    if not beside.is_file():
        raise DataError(f"{path.name} must have {beside.name} beside it; no such file in {path.parent}.")
    ids = _vocabulary(path)
    if {"<s>", "</s>"} <= {*ids}:
        refuse("vocab.json of RoBERTa has no template of its <s> and </s>", "load its tokenizer.json instead")
    lines = [line.rstrip("\r") for line in _text(beside).split("\n")]
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    wrong = next((merge for merge in merges if len(merge) != 2), None)
    if wrong:
        refuse(f"each line of {beside.name} must hold two tokens", wrong)
    backend = Tokenizer(guarded(models.BPE, ids, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder, backend.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    if "<|endoftext|>" in ids:
        backend.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return backend.to_str()


def _vocabulary(path: Path) -> dict[str, int]:
    try:
        ids: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        refuse(f"{path.name} must be JSON", first_line(error))
    if not isinstance(ids, dict) or not ids or not all(type(each) is int for each in ids.values()):
        refuse(f"{path.name} must be a JSON object of tokens and their ids", type(ids).__name__)
    if sorted(ids.values()) != [*range(len(ids))]:
        refuse(f"ids of {path.name} must be 0 to {len(ids) - 1}, each once", f"{min(ids.values())} and more")
    return ids


def _with_padding(tokenizer: Tokenizer, padding: str) -> Tokenizer:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    if tokenizer.padding_id is not None:
        checks.refuse("padding is for a tokenizer without padding token", tokenizer.token_of(tokenizer.padding_id))
    backend = Backend.from_str(tokenizer.to_text())
    backend.add_special_tokens([AddedToken(padding, special=True, normalized=False)])
    padded = Tokenizer(backend.to_str())
    if padded.padding_id is None:
        checks.refuse("padding must be [PAD], <pad> or <|pad|>", padding)
    return padded
