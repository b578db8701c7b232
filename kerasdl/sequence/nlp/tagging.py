"""Token tagging task: a tag for each token of a text, and the entities that the tags spell."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.data import Dataset
from kerasdl.data.trees import unpacked
from kerasdl.losses import CRFLoss
from kerasdl.metrics import EntityF1, TagAccuracy
from kerasdl.ops import tag_scheme, tag_spans
from kerasdl.ops.sequences.tag_schemes import SCHEMES

from ..text_inputs import check_text_settings, padding_of
from ..token_ids import check_rows
from .piece_table import PieceTable
from .tag_decoder import TagDecoder, decode_tags
from .token_table import TokenTable, tokens_of


def check_tagger(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks the settings and labels of a bundle against a tagger; raises `ArgumentError`."""
    shape = tuple(model.outputs[0].shape)
    if len(model.outputs) != 1 or len(shape) not in (3, 4):
        rule = "a tagger must have one output, logits (B, T, K) or potentials (B, T, K, K)"
        checks.refuse(rule, [tuple(each.shape) for each in model.outputs])
    table = table_of(settings)
    checks.one_of("scheme", settings.get("scheme", "runs"), SCHEMES)
    if len(labels) != shape[-1]:
        checks.refuse(f"a tagger's bundle must have a label for each of its {shape[-1]} tags", len(labels))
    if settings.get("scheme", tag_scheme(labels)) != tag_scheme(labels):
        checks.refuse(f"scheme must be that of the labels, {tag_scheme(labels)}", settings["scheme"], "Leave it out.")
    if list(settings.get("tags", labels)) != list(labels):
        checks.refuse("tags of the settings must be the labels of the bundle", settings["tags"])
    if isinstance(table, PieceTable):
        if len(shape) == 4:
            rule = "a tagger over pieces must give logits (B, T, K), since a chain would count every piece"
            checks.refuse(rule, shape, "Pass words and no tokenizer.")
        check_text_settings(settings, model)
        return
    _check_words(table, settings.get("length"), model)


def table_of(settings: Mapping[str, Any]) -> TokenTable | PieceTable:
    """Returns the table of words of a bundle's settings, or that of pieces where they hold a tokenizer."""
    return (PieceTable if settings.get("tokenizer") is not None else TokenTable).from_settings(settings)


def _check_words(table: TokenTable, length: int | None, model: keras.Model) -> None:
    if length is not None:
        checks.at_least("length", length, 1)
    given = {name: tuple(each.shape[1:]) for name, each in _named_inputs(model).items()}
    wanted = {"tokens": (length,)}
    if table.characters:
        wanted["characters"] = (length, table.word_length)
    if sorted(given) != sorted(wanted) or any(
        size not in (None, own) for name in wanted for size, own in zip(given[name], wanted[name], strict=True)
    ):
        checks.refuse(f"settings must fit the inputs of the model, {given}", wanted)
    for name, ids in (("embedding", table.vocabulary), ("character_embedding", table.character_vocabulary)):
        rows = next((layer.input_dim for layer in model.layers if layer.name == name), ids)
        if rows < ids:
            checks.refuse(f"the table of tokens must fit the {rows} ids of the layer {name!r}", ids)


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Returns texts as the inputs of a tagger, and the texts with their scheme for `decoded`."""
    check_rows(raw, "raw must be texts, or lists of tokens")
    raw = [raw] if isinstance(raw, str) else list(raw)
    table = table_of(settings)
    places = table.places(raw) if isinstance(table, PieceTable) else [None] * len(raw)
    context = [(text, settings.get("scheme"), each) for text, each in zip(raw, places, strict=True)]
    return table.encode(raw, settings.get("length")), context


def outputs_of(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> np.ndarray:
    """Returns the logits or potentials of prepared texts."""
    return networks["model"].predict(inputs, batch_size=batch_size, verbose=0)


def decoded(outputs: np.ndarray, labels: Sequence[str], context: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns tokens, tags, scores and entities of each text; places are characters of the text."""
    rows = [tokens_of(text) for text, _, _ in context]
    scheme = context[0][1] or tag_scheme(labels)
    outputs = _at_words(outputs, [places for _, _, places in context])
    mask = np.arange(outputs.shape[1]) < np.array([[len(row)] for row in rows])
    chosen, scores = (np.asarray(each) for each in decode_tags(outputs, labels, scheme, mask))
    results = []
    for row, (text, _, _), tags, shares in zip(rows, context, chosen, scores, strict=True):
        names = [labels[tag] for tag in tags[: len(row)]]
        text = text if isinstance(text, str) else " ".join(text)
        entities = []
        for span in tag_spans(names, scheme):
            start, end = row[span.start].start, row[span.end - 1].end
            score = float(shares[span.start : span.end].min())
            entities.append({"label": span.label, "text": text[start:end], "start": start, "end": end, "score": score})
        results.append(
            {
                "tokens": [token.text for token in row],
                "tags": names,
                "scores": [float(share) for share in shares[: len(row)]],
                "entities": entities,
            }
        )
    return results


def _at_words(outputs: np.ndarray, places: Sequence[Sequence[int] | None]) -> np.ndarray:
    """Returns the outputs at the first piece of each word (B, W, K); those of words themselves stay as they are."""
    if places[0] is None:
        return outputs
    found = np.zeros((len(outputs), max(map(len, places)), outputs.shape[-1]), outputs.dtype)
    for row, given, of_row in zip(found, outputs, places, strict=True):
        row[: len(of_row)] = given[of_row]
    return found


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns texts with their tags as a tagger takes them; data that are ids already stay as they are."""
    texts = dataset.any_order and getattr(getattr(dataset.source.inputs, "dtype", None), "kind", "") in "UO"
    if not texts:
        return dataset
    return table_of(settings).tagged(dataset, settings.get("tags"), settings.get("length"))


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> Measurement:
    """Returns loss, accuracy and the F1 score of the entities over labelled data, and those of each entity."""
    model = networks["model"]
    names = data.class_names or tuple(map(str, range(model.outputs[0].shape[-1])))
    loss, total, count = CRFLoss(reduction="none"), 0.0, 0
    accuracy, entities = TagAccuracy(), EntityF1(tag_scheme(names))
    for inputs, labels, weights in map(unpacked, data.batches(64)):
        _refuse_weights(weights)
        outputs, labels = model(inputs, training=False), np.asarray(labels)
        losses = loss(labels, outputs)
        total, count = total + float(np.sum(losses)), count + len(labels)
        accuracy.update_state(labels, outputs)
        chosen = np.asarray(decode_tags(outputs, names, entities.scheme, _mask(inputs))[0])
        _add(entities, names, labels, chosen)
    return _measured({"loss": total / max(count, 1), "accuracy": float(accuracy.result())}, entities)


def file_figures(run: Callable[..., Mapping[str, Any]], data: Dataset, labels: Sequence[str]) -> Measurement:
    """Returns accuracy and the F1 score of the entities of an exported file over labelled data.

    Args:
        run: runs the file on inputs, and returns its outputs by name.
        data: ids with their tags, of the length of the file's input.
        labels: name of each tag.
    """
    entities, hits, count = EntityF1(tag_scheme(labels)), 0, 0
    for inputs, truth, weights in map(unpacked, data.batches(8)):
        _refuse_weights(weights)
        truth = np.asarray(truth)
        chosen = np.asarray(run(keras.tree.map_structure(np.asarray, inputs))["tags"])
        hits, count = hits + int((chosen == truth)[truth >= 0].sum()), count + int((truth >= 0).sum())
        _add(entities, labels, truth, chosen)
    return _measured({"accuracy": hits / max(count, 1)}, entities)


def postprocess(networks: Mapping[str, keras.Model], settings: Mapping[str, Any], input_shape: tuple) -> keras.Model:
    """Returns the decoder of a tagger's output as a model.

    Args:
        networks: networks by role.
        settings: settings of the preprocessing.
        input_shape: shape of the file's first input; the length is that of the network's output.
    """
    network = networks["model"]
    (name,), (output,) = network.output_names, network.outputs
    tags = settings.get("tags", ())
    scheme = settings.get("scheme") or (tag_scheme(tags) if tags else "runs")
    entry = keras.Input(output.shape[1:], name=name, dtype=output.dtype)
    return keras.Model({name: entry}, TagDecoder(tags, scheme, name="tags")(entry), name="tags")


def a_row_an_entity(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each entity of a text: name, text, place and score."""
    return list(result["entities"])


def _refuse_weights(weights: Any) -> None:
    if weights is not None:
        checks.refuse("tokens and entities are counted once each; data to measure must have no weights", "weights")


def _add(entities: EntityF1, names: Sequence[str], labels: np.ndarray, chosen: np.ndarray) -> None:
    """Adds sequences, of which tokens without a label are left out."""
    pairs = [(row[row >= 0], other[row >= 0]) for row, other in zip(labels, chosen, strict=True)]
    entities.update_state(*([[names[tag] for tag in pair[part]] for pair in pairs] for part in (0, 1)))


def _measured(shares: Mapping[str, float], entities: EntityF1) -> Measurement:
    rows = [
        (name, *(f"{value:.3f}" for value in list(row.values())[:3]), row["support"])
        for name, row in entities.per_class().items()
    ]
    return Measurement({**shares, **entities.result()}, ("entity", "precision", "recall", "F1", "entities"), rows)


def _mask(inputs: Any) -> np.ndarray:
    return np.asarray(inputs["tokens"] if isinstance(inputs, Mapping) else inputs) != 0


def _named_inputs(model: keras.Model) -> dict[str, Any]:
    return {each.name.partition(":")[0]: each for each in model.inputs}


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = _named_inputs(model)
    sizes = {layer.name: layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding)}
    length, padding = inputs["tokens"].shape[1] or 8, padding_of(model)
    real = np.arange(length) < rng.integers(1, length + 1, (batch, 1))
    tokens = np.where(real, rng.integers(1 + padding, sizes["embedding"], (batch, length)), padding).astype("int32")
    labels = np.where(real, rng.integers(0, model.outputs[0].shape[-1], (batch, length)), -1).astype("int32")
    if "segments" in inputs:
        second = real & (np.arange(length) >= rng.integers(0, length + 1, (batch, 1)))
        return {"tokens": tokens, "segments": second.astype("int32")}, labels
    if "characters" not in inputs:
        return tokens, labels
    size = (batch, length, inputs["characters"].shape[-1])
    letters = np.where(real[..., None], rng.integers(1, sizes["character_embedding"], size), 0)
    ends = rng.integers(1, size[-1] + 1, (batch, length, 1))
    return {"tokens": tokens, "characters": np.where(np.arange(size[-1]) < ends, letters, 0).astype("int32")}, labels


register_task(
    Task(
        name="token_tagging",
        module=__name__,
        loss=CRFLoss,
        metrics=lambda: [TagAccuracy()],
        monitor=("val_accuracy", "max"),
        check=check_tagger,
        preprocess=prepared,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=outputs_of,
        ready=ready,
        figures=figures,
        file_figures=file_figures,
        table=a_row_an_entity,
        postprocess=postprocess,
        answers="The file gives `tags`, for each token the place of a label counted from 0, and `scores`, the "
        "probability of each; behind the tokens of a text both mean nothing.",
        summary="gives each token of a text a tag, and names the entities that the tags spell",
        limits="It gives each token one of the labels above, whatever the text is about.",
    )
)
