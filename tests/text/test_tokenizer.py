"""Ids against references: transformers, the C++ tokenizer of the stock runner, tiktoken for Llama 4's format."""

from __future__ import annotations

import base64
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from pytorch_tokenizers import CppHFTokenizer
from small_checkpoints import BOS, BOS_ID, EOT, EOT_ID, VOCAB_SIZE, small_tokenizer, write_checkpoint, write_tokenizer
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from transformers import AutoTokenizer

from mlp_export.errors import InputError
from mlp_export.text import tokenizer as module
from mlp_export.text.tokenizer import Tokenizer, llama4_special_tokens

TEXTS = [
    "",
    " ",
    "What is the capital of France?",
    "a\n\nb\t c\r\n",
    "Größe 東京 नमस्ते 🙂🙃 e\u0301",
    "def f(x):\n    return x**2  # ok",
    "I'LL we've 12345",
    "\x00\x7f\u200b\ufffd",
]
SPELLED = [
    EOT,
    f"Hello{EOT} the world",
    f"{BOS}{BOS}a",
    "<|header_start|>user<|header_end|>\n\nhi<|eot|>",
    "<|eot",
    "<|unknown|>",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(folder, VOCAB_SIZE)


@pytest.mark.parametrize("bos", [True, False])
def test_ids_are_those_of_the_stock_runner(folder: Path, tokenizer: Tokenizer, bos: bool) -> None:
    """Also where special tokens are spelled in the prompt: the runner takes them as the tokens."""
    stock = CppHFTokenizer()
    stock.load(str(folder / "tokenizer.json"))
    for text in TEXTS + SPELLED:
        assert tokenizer.encode(text, bos=bos, special=True) == stock.encode(text, int(bos), 0), text


def test_ids_are_those_of_transformers(folder: Path, tokenizer: Tokenizer) -> None:
    reference = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS + SPELLED:
        for bos in (True, False):
            assert tokenizer.encode(text, bos=bos, special=True) == reference.encode(text, add_special_tokens=bos), text
        assert tokenizer.decode(reference.encode(text), special=True) == reference.decode(reference.encode(text))


def test_special_tokens_may_be_taken_as_text(tokenizer: Tokenizer) -> None:
    for text in SPELLED:
        ids = tokenizer.encode(text, bos=False, special=False)
        assert max(ids) < BOS_ID
        assert tokenizer.decode(ids) == text
    assert (
        tokenizer.encode(f"a{EOT}", bos=True, special=True)[-1] == EOT_ID
    )  # the choice of the call before does not stick
    assert tokenizer.encode(f"a{EOT}", bos=True, special=False)[0] == BOS_ID


def test_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 320
    assert tokenizer.adds_bos
    assert (tokenizer.token(EOT_ID), tokenizer.token_id(EOT)) == (EOT, EOT_ID)
    assert (tokenizer.token(99999), tokenizer.token_id("<|none|>")) == (None, None)
    assert tokenizer.decode([BOS_ID, *tokenizer.encode("hi", bos=False, special=False), EOT_ID]) == "hi"


def test_invalid_utf8_in_a_prompt(tokenizer: Tokenizer) -> None:
    prompt = b"caf\xe9".decode("utf-8", "surrogateescape")  # what a terminal in Latin-1 hands to Python
    with pytest.raises(InputError, match="UTF-8 at character 3"):
        tokenizer.encode(prompt, bos=True, special=False)


def test_truncation_and_padding_of_the_file_do_not_apply(tmp_path: Path) -> None:
    shortening = small_tokenizer()
    shortening.enable_truncation(4)
    shortening.enable_padding(length=32)
    shortening.save(str(tmp_path / "tokenizer.json"))
    assert len(Tokenizer.from_folder(tmp_path).encode("x" * 40, bos=False, special=False)) == 40


@pytest.mark.parametrize("text", [*TEXTS, "é" * 50, "🙂" * 5 + "x"])
def test_stream_yields_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, bos=True, special=True)
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in ids]
    assert "".join([*pieces, stream.flush()]) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    if text.isascii():
        assert "".join(pieces) == text  # nothing is held back without need


@pytest.mark.parametrize(
    "data", [b"\xf0\x9f", b"a\x80b", b"\xff\xfe", b"\xf0\x9f\x98x\x99\x82", b"\xe6\x9d\xe6\x9d\xb1", b"\x80" * 9 + b"x"]
)
def test_stream_of_bytes_that_are_no_utf8(tokenizer: Tokenizer, data: bytes) -> None:
    letters = module._byte_letters()
    ids = [tokenizer.token_id(letters[byte]) for byte in data]
    stream = tokenizer.stream()
    text = "".join([stream.push(i) for i in ids if i is not None]) + stream.flush()
    assert text == tokenizer.decode([i for i in ids if i is not None]) == data.decode("utf-8", "replace")


def test_stream_keeps_the_spaces_of_sentencepiece_decoders() -> None:
    """Such decoders drop the space of a text's first token and join bytes only where they make a character."""
    words = ["▁Hello", "▁world", "!", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "▁x"]
    inner = HFTokenizer(BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = Tokenizer(inner)
    for ids in ([0, 1, 2, 3, 4, 5, 6, 7], [3, 4, 7, 1], [0, 3], [1, 1, 1]):
        stream = tokenizer.stream()
        assert "".join([*(stream.push(i) for i in ids), stream.flush()]) == tokenizer.decode(ids)


def byte_fallback_tokenizer(decoder: decoders.Decoder) -> HFTokenizer:
    words = ["<s>", "▁", "▁Hello", "▁▁", "a", "é", "▁東", "\n", "\ufffd", *(f"<0x{byte:02X}>" for byte in range(256))]
    inner = HFTokenizer(BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], byte_fallback=True))
    inner.decoder = decoder
    inner.add_special_tokens(["<s>", "<|eot|>"])
    inner.add_tokens(["<html>", "  x "])
    return inner


def word_pieces() -> HFTokenizer:
    words = ["[UNK]", "he", "##llo", ".", "'", "##s", "do", "n't", "!", " ", "##é"]
    inner = HFTokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.decoder = decoders.WordPiece()
    return inner


def kinds_of_tokenizers() -> dict[str, HFTokenizer]:
    """Those of the vectors (byte-level and SentencePiece vocabularies, added tokens), and decoders beside them."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "tokenizers.json").read_text(encoding="utf-8"))
    to_bytes = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made = {
        "Gemma": decoders.Sequence(to_bytes),
        "Llama 2": decoders.Sequence([*to_bytes, decoders.Strip(" ", 1, 0)]),
        "Metaspace": decoders.Metaspace(prepend_scheme="always"),
        "bytes, Metaspace": decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]),
        "CTC": decoders.CTC("▁", "a", True),
        "BPE": decoders.BPEDecoder("é"),
    }
    return {
        **{name: HFTokenizer.from_str(text) for name, text in vectors["tokenizers"].items()},
        **{f"decoder {name}": byte_fallback_tokenizer(decoder) for name, decoder in made.items()},
        "WordPiece": word_pieces(),
    }


KINDS = kinds_of_tokenizers()


def random_ids(inner: HFTokenizer, draw: random.Random) -> list[int]:
    """Any ids, or mostly bytes, which seldom make characters."""
    spelled = inner.get_vocab(with_added_tokens=True)
    every = sorted(spelled.values())
    single = sorted(i for token, i in spelled.items() if len(token) == 1 or token.startswith("<0x")) or every
    some = draw.choice([every, single])
    return [draw.choice(some if draw.random() < 0.8 else every) for _ in range(draw.randint(1, 14))]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("special", [False, True])
def test_a_stream_adds_up_to_the_text_decoded_at_once(name: str, special: bool) -> None:
    draw, tokenizer = random.Random(name), Tokenizer(KINDS[name])
    for _ in range(150):
        ids = random_ids(KINDS[name], draw)
        stream = tokenizer.stream(special=special)
        pieces = [stream.push(i) for i in ids]
        assert "".join(pieces) + stream.flush() == tokenizer.decode(ids, special=special), ids


def test_why_there_is_a_stream_of_our_own() -> None:
    """`DecodeStream` of tokenizers loses what is held back at the end, and fails at byte tokens that are no UTF-8."""
    inner = KINDS["GPT-2"]
    cut = inner.encode("a🙂").ids[:-1]
    assert len(cut) > 1 and inner.decode(cut) == "a\ufffd"
    theirs = decoders.DecodeStream()
    assert "".join(theirs.step(inner, i) or "" for i in cut) == "a"
    inner = KINDS["decoder Gemma"]
    spelled = inner.get_vocab()
    ids = [spelled[token] for token in ("<0x78>", "<0xCD>", "<0x1E>", "a")]
    assert inner.decode(ids) == "\ufffd\ufffd\ufffda"
    theirs = decoders.DecodeStream()
    with pytest.raises(Exception, match="Invalid prefix"):
        [theirs.step(inner, i) for i in ids]


def test_stream_leaves_special_tokens_out_or_spells_them(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(f"hi{EOT}", bos=True, special=True)
    for special, expected in ((False, "hi"), (True, f"{BOS}hi{EOT}")):
        stream = tokenizer.stream(special=special)
        assert "".join(stream.push(i) for i in ids) + stream.flush() == expected


def test_missing_tokenizer_names_the_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json and tokenizer\.model"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"model": {"type": "BPE"', "not json"])
def test_damaged_tokenizer(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="is not a tokenizer"):
        Tokenizer.from_folder(tmp_path)


def test_tokenizer_of_another_vocabulary(folder: Path) -> None:
    assert Tokenizer.from_folder(folder, 320).vocab_size == 320
    with pytest.raises(InputError, match=r"ids to 319, .* 319"):
        Tokenizer.from_folder(folder, 319)


IMAGE = "<image_soft_token>"


def gemma_folder(folder: Path, tokens: dict[str, str]) -> int:
    """Files as those of Gemma 3's text models: every embedding row has a token, and one more is added for images.
    Returns the number of rows.
    """
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "b"]
    inner = HFTokenizer(BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], unk_token="<unk>"))
    inner.add_special_tokens([*words[:4], IMAGE])
    inner.save(str(folder / "tokenizer.json"))
    added = {str(inner.token_to_id(token)): {"content": token, "special": True} for token in (*words[:4], IMAGE)}
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "added_tokens_decoder": added, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(words)


@pytest.mark.parametrize("named", [{}, {"image_token": IMAGE}, {"extra_special_tokens": {"image_token": IMAGE}}])
def test_a_token_of_images_behind_the_embedding_is_left_out(named: dict[str, Any], tmp_path: Path) -> None:
    rows = gemma_folder(tmp_path, named)
    tokenizer = Tokenizer.from_folder(tmp_path, rows)
    assert tokenizer.vocab_size == rows and tokenizer.token_id(IMAGE) is None
    assert max(tokenizer.encode(f"a{IMAGE}b", bos=False, special=True)) < rows
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    tokenizer.write(bundle)
    assert Tokenizer.from_folder(bundle, rows).vocab_size == rows
    assert Tokenizer.from_folder(tmp_path, rows + 58).token_id(IMAGE) == rows  # as of the models that see images


def test_a_named_token_behind_the_embedding_is_another_models(tmp_path: Path) -> None:
    rows = gemma_folder(tmp_path, {"eos_token": IMAGE})
    with pytest.raises(InputError, match=f"ids to {rows}") as caught:
        Tokenizer.from_folder(tmp_path, rows)
    assert "do not belong together" in caught.value.hint


def test_files_are_copied_as_they_are(folder: Path, tmp_path: Path) -> None:
    assert Tokenizer.from_folder(folder).write(tmp_path) == ("tokenizer.json",)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


# Llama 4's format, at a size that is quick: the same steps with 400 ranks in place of 200,000.


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    """256 bytes and 144 pairs of tokens, as BPE training would find them."""
    found = {bytes([byte]): byte for byte in range(256)}
    words = [
        b" the",
        b" of",
        b"capital",
        b"France",
        b"Hello",
        b" world",
        "東京".encode(),
        "🙂".encode(),
        b"\n\n",
        b"    ",
        b"return",
        b"123",
    ]
    for word in words * 20:
        parts = [word[i : i + 1] for i in range(len(word))]
        while len(parts) > 1:  # merge as far as ranks go, then learn one more pair
            known = [(found[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in found]
            if not known:
                break
            _, i = min(known)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) > 1 and len(found) < 400:
            found[parts[0] + parts[1]] = len(found)
    for i in range(26 * 26):
        if len(found) < 400:
            found.setdefault(bytes([97 + i // 26, 97 + i % 26]), len(found))
    return found


def write_tiktoken(folder: Path, ranks: dict[bytes, int]) -> Path:
    path = folder / "tokenizer.model"
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))
    return path


def test_tiktoken_file_gives_tiktokens_ids(
    ranks: dict[bytes, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LLAMA4_RANKS", len(ranks))
    write_tiktoken(tmp_path, ranks)
    specials = {token: len(ranks) + i for i, token in enumerate(llama4_special_tokens())}
    reference = tiktoken.Encoding("small", pat_str=module._LLAMA4_WORDS, mergeable_ranks=ranks, special_tokens=specials)
    ours = Tokenizer.from_folder(tmp_path, len(ranks) + 2048)
    assert ours.vocab_size == len(ranks) + 2048
    for text in [*TEXTS, *SPELLED, "The capital of France is Paris, 東京 and\n\n  Hello world 1234567 aazz"]:
        expected = reference.encode(text, allowed_special="all")
        assert ours.encode(text, bos=False, special=True) == expected, text
        assert ours.encode(text, bos=True, special=True) == [len(ranks), *expected]
        assert ours.decode(expected, special=True) == text
        assert ours.encode(text, bos=False, special=False) == reference.encode(text, disallowed_special=()), text

    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert ours.write(bundle) == ("tokenizer.json", "tokenizer.model")
    stock = CppHFTokenizer()
    stock.load(str(bundle / "tokenizer.json"))
    for text in (*TEXTS, *SPELLED):
        assert stock.encode(text, 1, 0) == ours.encode(text, bos=True, special=True), text


def test_llama4_special_tokens_have_their_published_ids() -> None:
    tokens = llama4_special_tokens()
    assert len(tokens) == len(set(tokens)) == 2048
    published = {
        "<|begin_of_text|>": 200000,
        "<|end_of_text|>": 200001,
        "<|header_start|>": 200005,
        "<|header_end|>": 200006,
        "<|eom|>": 200007,
        "<|eot|>": 200008,
        "<|python_start|>": 200016,
        "<|python_end|>": 200017,
        "<|finetune_right_pad|>": 200018,
        "<|image_start|>": 200080,
        "<|patch|>": 200092,
    }
    assert {token: 200000 + tokens.index(token) for token in published} == published


@pytest.mark.parametrize("data", [b"\x0a\x0e\x0a\x05<unk>\x15\x00", b"aGk= zero\n", b"??? 1\n", b""])
def test_tokenizer_model_in_another_format(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(InputError, match=r"tokenizer\.model"):
        Tokenizer.from_folder(tmp_path)


def test_tokenizer_model_of_another_vocabulary(ranks: dict[bytes, int], tmp_path: Path) -> None:
    write_tiktoken(tmp_path, ranks)
    with pytest.raises(InputError, match="400 tokens, expected the 200000 of Llama 4"):
        Tokenizer.from_folder(tmp_path)


def test_byte_letters_are_gpt2s() -> None:
    assert sorted(module._byte_letters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert module._byte_letters()[ord(" ")] == "Ġ" and module._byte_letters()[ord("\n")] == "Ċ"


def test_tokenizer_without_post_processor_adds_no_bos(tmp_path: Path) -> None:
    """As the stock runner, which leaves BOS to the post-processor as well."""
    write_tokenizer(tmp_path)
    bare = HFTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    bare.post_processor = None
    bare.save(str(tmp_path / "tokenizer.json"))
    ours, stock = Tokenizer.from_folder(tmp_path), CppHFTokenizer()
    stock.load(str(tmp_path / "tokenizer.json"))
    assert not ours.adds_bos
    assert ours.encode("Hello", bos=True, special=True) == stock.encode("Hello", 1, 0) == [ours.token_id("Hello")]
