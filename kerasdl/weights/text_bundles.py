"""Bundles of text nets from folders of Hugging Face: model, tokenizer, and the pooling of a sentence encoder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import build, checks, spec
from kerasdl.core.errors import DataError, WeightsError

from .folder_models import CONFIG, architecture_of, config_of, described, described_maps, folder_of, model_from
from .torch_checkpoints import load_checkpoint

LONGEST = 128
LONGEST_WINDOW = 384
WRITING, ASKING = "language_modeling", "question_answering"
LABELLED = ("text_classification", "token_tagging")
"""Tasks whose outputs have names."""
TASKS = ("text_encoding", *LABELLED, ASKING, WRITING, "masked_language_modeling")
CONTEXT = 2048
"""Tokens that a bundle of a decoder reads, where neither positions nor config say how many."""
TEMPLATE, NAMES = "chat_template.jinja", "tokenizer_config.json"
POOLING, MODULES, LENGTH = "1_Pooling/config.json", "modules.json", "sentence_bert_config.json"
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


def is_text_folder(source: str) -> bool:
    """Returns whether a source is a local folder whose config.json describes a net of texts here."""
    folder = Path(source).expanduser()
    if not (folder / CONFIG).is_file():
        return False
    kind, maps = architecture_of(config_of(folder)), described_maps()
    return kind in maps and spec(maps[kind].models[kind]).task in TASKS


def text_bundle(source: str | os.PathLike, model: str | None = None, **arguments: Any) -> Bundle:
    """Returns a bundle of the text net of a folder, with its tokenizer, labels, pooling and template of chats.

    Args:
        source: the folder.
        model: the name of another net over the encoder in the folder, such as `minilm_classifier`, whose last layers
            are then fresh, or `bert_masked_lm`; None takes the net that the config describes.
        **arguments: further arguments of the net's function; `length` is that of the folder's sentence encoder, else
            128, of an answerer 384, or what its positions allow; and of decoders any.

    Raises:
        ArgumentError: the folder describes no net of texts that is here, or a pooling that is not, or a head of several
            labels a text or of numbers.
        WeightsError: its files cannot be read, or its weights do not fit.
    """
    folder = folder_of(source)
    name, found = described(folder)
    if spec(model or name).task == WRITING:
        arguments.setdefault("length", None)
        room = found.get("positions") or config_of(folder).get("max_position_embeddings") or CONTEXT
        length = arguments["length"] or checks.at_least(f"max_position_embeddings of {CONFIG}", room, 1)
    else:
        longest = LONGEST_WINDOW if spec(model or name).task == ASKING else LONGEST
        longest, own = min(longest, found.get("positions", LONGEST)), _json(folder, LENGTH).get("max_seq_length")
        own = longest if own is None else checks.at_least(f"max_seq_length of {LENGTH}", own, 1)
        length = arguments.setdefault("length", own)
    if model is None:
        network, whole = model_from(folder, **arguments), True
    else:
        name, found = model, {key: value for key, value in found.items() if key != "classes"}
        checks.one_of(f"the task of {name}", spec(name).task, TASKS)
        network = build(name, **{**found, **arguments})
        whole = load_checkpoint(network, str(folder)).head
    if whole and spec(name).task == "text_classification":
        _refuse_other_scores(config_of(folder), network)
    return Bundle.of(
        network,
        name=name,
        task=spec(name).task,
        preprocess=_settings(source, folder, network, spec(name).task, length),
        labels=_labels(folder, network, whole) if spec(name).task in LABELLED else (),
        builder=name,
        arguments={**spec(name).arguments, **found, **arguments},
        provenance={
            "weights from": os.fspath(source),
            "head": "the peer's" if whole else "fresh",
            "kerasdl": kerasdl.__version__,
        },
    )


def _settings(source: Any, folder: Path, network: keras.Model, task: str, length: int) -> dict[str, Any]:
    try:
        tokenizer = kerasdl.sequence.load_tokenizer(folder)
    except DataError as error:
        raise WeightsError(f"{source} must hold a tokenizer that can be read: {error}") from error
    if task == ASKING:
        return kerasdl.sequence.QuestionAnswerer(network, tokenizer, length=length).settings
    if task == WRITING:
        return {"length": length, "tokenizer": tokenizer.to_text(), **_chat_template(folder)}
    settings = {"length": length, "padding_id": tokenizer.padding_id, "tokenizer": tokenizer.to_text()}
    if len(network.inputs) > 1:
        settings["segments"] = True
    return settings | (_pooling(folder) if task == TASKS[0] else {})


def _chat_template(folder: Path) -> dict[str, Any]:
    """Returns the template of chats of a folder, with the token that ends a turn; nothing where it has none."""
    names = _json(folder, NAMES)
    source, end = names.get("chat_template"), names.get("eos_token")
    if (folder / TEMPLATE).is_file():
        source = (folder / TEMPLATE).read_text(encoding="utf-8")
    if isinstance(source, list):  # several by name
        named = {each.get("name"): each.get("template") for each in source if isinstance(each, Mapping)}
        source = named.get("default")
    end = end.get("content") if isinstance(end, Mapping) else end
    if not isinstance(source, str):
        return {}
    return {"chat_template": {"jinja": source, "stop": [end] if isinstance(end, str) and end else []}}


def _refuse_other_scores(config: Mapping[str, Any], network: keras.Model) -> None:
    """Refuses a head whose outputs are no logits of one class a text; a softmax of them would mean nothing."""
    kind, hint = config.get("problem_type"), "model_from gives the net and its plain outputs."
    if kind not in (None, "single_label_classification"):
        checks.refuse(f"problem_type of {CONFIG} must be single_label_classification in a bundle", kind, hint)
    if network.output_shape[-1] < 2:
        checks.refuse("a classifier in a bundle must have two classes or more", network.output_shape[-1], hint)


def _labels(folder: Path, network: keras.Model, whole: bool) -> tuple[str, ...]:
    """Returns the names of the classes in a folder's config; those of a fresh head are numbered."""
    names = (config_of(folder).get("id2label") or {}) if whole else {}
    return tuple(str(names.get(str(number), f"class {number}")) for number in range(network.output_shape[-1]))


def _pooling(folder: Path) -> dict[str, Any]:
    """Returns pooling and normalising of a sentence encoder; of a plain encoder the defaults of the task."""
    modules = _json(folder, MODULES, list)
    if not modules:
        return {"pooling": "mean", "normalise": True}
    kinds = [str(each.get("type", "")).rpartition(".")[2] for each in modules if isinstance(each, dict)]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        checks.refuse(f"{MODULES} must name Transformer, Pooling and perhaps Normalize", kinds)
    modes = [key for key, value in _json(folder, POOLING).items() if key.startswith("pooling_mode") and value is True]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        checks.refuse(f"{POOLING} must name one of {tuple(POOLINGS)}", modes)
    return {"pooling": POOLINGS[modes[0]], "normalise": kinds[2:] == ["Normalize"]}


def _json(folder: Path, name: str, kind: type = dict) -> Any:
    """Returns the content of a file of a folder, nothing where it is missing."""
    file = folder / name
    if not file.is_file():
        return kind()
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file} must be JSON; got: {str(error)[:100]}") from None
    if not isinstance(content, kind):
        raise WeightsError(f"{file} must hold a JSON {kind.__name__}; got {type(content).__name__}.")
    return content
