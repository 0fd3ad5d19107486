"""Streaming is decoding at once, for generated tokenizers: decoders, byte tokens, added tokens with flags, any ids."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders
from tokenizers import Tokenizer as HFTokenizer
from tokenizers.models import BPE

from mlp_export.text.tokenizer import Tokenizer, _byte_letters

META = "\u2581"
WORDS = [
    *[META, META * 2, f"{META}Hello", f"{META}a{META}b", "a", "ab", " ", " x", "x ", "\n", "'", "##s", ""],
    *["\u00e9", "e\u0301", "\u0300", "\u4e16", "\U0001f642", "\u200d", "\ufffd", "\u0120the", "\u00c3\u00a9"],
    *["<0xZZ>", "<0x4>", "<0x0a>"],
]
REPLACE, FUSE, BYTES = decoders.Replace(META, " "), decoders.Fuse(), decoders.ByteFallback()
DECODERS: dict[str, Any] = {
    "byte-level": decoders.ByteLevel(),
    "Gemma": decoders.Sequence([REPLACE, BYTES, FUSE]),
    "Llama 2": decoders.Sequence([REPLACE, BYTES, FUSE, decoders.Strip(" ", 1, 0)]),
    "Strip of two": decoders.Sequence([REPLACE, BYTES, FUSE, decoders.Strip(" ", 2, 0)]),
    "Strip of each token": decoders.Sequence([REPLACE, BYTES, decoders.Strip(" ", 1, 0), FUSE]),
    "Strip alone": decoders.Strip("a", 1, 0),
    "Metaspace, always": decoders.Metaspace(prepend_scheme="always"),
    "Metaspace, first": decoders.Sequence([BYTES, decoders.Metaspace(prepend_scheme="first")]),
    "Metaspace, never": decoders.Metaspace(prepend_scheme="never"),
    "Fuse, then Replace": decoders.Sequence([BYTES, FUSE, REPLACE]),
    "Replace, then byte-level": decoders.Sequence([decoders.Replace("x", ""), decoders.ByteLevel()]),
    "none": None,
    "WordPiece": decoders.WordPiece(),
    "BPE": decoders.BPEDecoder("\u00e9"),
    "CTC": decoders.CTC(META, "a", True),
}
ADDED = st.builds(
    AddedToken,
    st.sampled_from(["<s>", "  two", f"{META}y", "caf\u00e9", "\u4e16\u754c", "a b", "<0x41>"]),
    single_word=st.booleans(),
    lstrip=st.booleans(),
    rstrip=st.booleans(),
    normalized=st.booleans(),
    special=st.booleans(),
)


def tokenizer_with(decoder: str, added: list[AddedToken]) -> Tokenizer:
    words = [*WORDS, *(f"<0x{byte:02X}>" for byte in range(256)), *_byte_letters()]
    vocab: dict[str, int] = {}
    for word in words:
        vocab.setdefault(word, len(vocab) + len(vocab) // 40)  # with ids between them that have no token
    inner = HFTokenizer(BPE(vocab=vocab, merges=[], byte_fallback=True))
    if DECODERS[decoder] is not None:
        inner.decoder = DECODERS[decoder]
    inner.add_tokens(added)
    return Tokenizer(inner)


@given(
    decoder=st.sampled_from(sorted(DECODERS)),
    added=st.lists(ADDED, max_size=3),
    special=st.booleans(),
    draws=st.lists(st.one_of(st.integers(0, 30), st.integers(0, 600), st.integers(150, 215)), max_size=14),
)
@example("Llama 2", [], True, [2, 601, 2])  # an id without a token between two words
@settings(max_examples=300, deadline=None)
def test_a_stream_is_the_text_decoded_at_once(
    decoder: str, added: list[AddedToken], special: bool, draws: list[int]
) -> None:
    tokenizer = tokenizer_with(decoder, added)
    stream = tokenizer.stream(special=special)
    pieces = [stream.push(token_id) for token_id in draws]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(draws, special=special)
