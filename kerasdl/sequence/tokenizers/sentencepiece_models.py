"""Conversion of SentencePiece's `.model` files to a tokenizer.json, compared with SentencePiece itself.

Source: https://arxiv.org/abs/1808.06226; the fields are those of sentencepiece_model.proto.
"""

from typing import Any

from kerasdl.core.startup.packages import optional

from .documents import MAX_VOCABULARY, guarded, refuse

UNIGRAM, BPE = 1, 2
UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
SPACE = "▁"
# Spaces, accents, wide letters, digits, signs, unknown scripts and joined emoji, which each setting treats in its way.
PROBES = (
    *("Hello world", "  two  spaces ", "tab\tand\nline", "naïve café", "\ufb01 \uff21\uff22 \uff11 \u2026", "1,234.5%"),
    *(
        "don\u2019t",
        "日本語 テスト",
        "привет мир",
        "مرحبا",
        "👩\u200d👩\u200d👧 ok",
        "aaaaaaaaaaaaaaaaaaaa",
        "MiXeD",
        "",
        " ",
    ),
)


def tokenizer_json(content: bytes) -> str:
    """Returns the tokenizer.json of the content of a `.model` file.

    Raises:
        DataError: the content is no SentencePiece model, of words or characters, or is computed in another way there.
        MissingPackageError: sentencepiece is not installed.
    """
    package = optional("sentencepiece", "text")
    proto = _proto(content)
    peer = guarded(package.SentencePieceProcessor, model_proto=content)
    pieces = proto.pieces
    if not 0 < len(pieces) <= MAX_VOCABULARY:
        refuse(f"a .model must have 1 to {MAX_VOCABULARY} pieces", len(pieces))
    if proto.trainer_spec.model_type not in (UNIGRAM, BPE):
        refuse("a .model must be of type unigram or bpe, not of words or characters", proto.trainer_spec.model_type)
    if proto.trainer_spec.treat_whitespace_as_suffix:
        refuse("a .model must mark the space before a word, not the one behind it", "treat_whitespace_as_suffix")
    backend = guarded(_backend, proto, peer.unk_id())
    samples = [*PROBES, *(piece.piece.replace(SPACE, " ") for piece in pieces[:: 1 + len(pieces) // 200])]
    # A text that spells the name of a special piece, such as <s> or <0x0A>, is that piece here and plain text there.
    specials = {piece.piece for piece in pieces if piece.type in (UNKNOWN, CONTROL, BYTE)}
    for text in samples:
        if text not in specials and guarded(backend.encode, text).ids != list(peer.encode(text)):
            refuse("a .model must give the tokens of SentencePiece after conversion", f"others for {text!r}")
    return backend.to_str()


def _proto(content: bytes) -> Any:
    module = optional("sentencepiece.sentencepiece_model_pb2", "text")
    proto = module.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf names its error by its implementation
        refuse("a .model must be a SentencePiece model", error)
    return proto


def _backend(proto: Any, unknown: int) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pieces, spec = proto.pieces, proto.normalizer_spec
    bytes_too = proto.trainer_spec.byte_fallback
    if proto.trainer_spec.model_type == UNIGRAM:
        model = models.Unigram([(piece.piece, piece.score) for piece in pieces], unknown, bytes_too)
    else:
        ids = {piece.piece: id for id, piece in enumerate(pieces)}
        unknown_piece = pieces[unknown].piece
        model = models.BPE(ids, _merges(pieces), unk_token=unknown_piece, fuse_unk=True, byte_fallback=bytes_too)
    backend = Tokenizer(model)
    steps = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(_pattern(" {2,}"), " "), normalizers.Strip()]
    steps += [normalizers.Prepend(SPACE)] if spec.add_dummy_prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    last = [decoders.Strip(" ", 1, 0)] if spec.add_dummy_prefix else []
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    for piece in pieces:
        if piece.type in (UNKNOWN, CONTROL):
            backend.add_special_tokens([AddedToken(piece.piece, special=True, normalized=False)])
        elif piece.type == USER_DEFINED:
            backend.add_tokens([AddedToken(piece.piece, special=False, normalized=False)])
    return backend


def _merges(pieces: Any) -> list[tuple[str, str]]:
    """Returns the pairs that make each piece of BPE, the best score first."""
    ids = {piece.piece: id for id, piece in enumerate(pieces)}
    merges = []
    for id, piece in enumerate(pieces):
        text = piece.piece
        pairs = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        merges += [(-piece.score, id, ids[a], ids[b], a, b) for a, b in pairs if a in ids and b in ids]
    return [(a, b) for *_, a, b in sorted(merges)]


def _pattern(text: str) -> Any:
    from tokenizers import Regex

    return Regex(text)
