"""Calibration sequences against transformers' ids; texts that are refused or told of, each beside one that is not."""

from __future__ import annotations

import hashlib
import importlib.resources
import itertools
import json
import random
import re
import struct
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_checkpoints import (
    BOS,
    BOS_ID,
    CHAT_TEMPLATE,
    EOT,
    EOT_ID,
    SPECIAL_TOKENS,
    VOCAB_SIZE,
    small_tokenizer,
    write_tokenizer,
)
from transformers import AutoTokenizer

from mlp_export.errors import InputError, UsageError
from mlp_export.quantization import calibration_text as module
from mlp_export.quantization.calibration_text import CalibrationSequences, calibration_sequences, read_texts
from mlp_export.quantization.languages import spoken_language
from mlp_export.text.chat import ChatTemplate, read_chat_template
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer

DATA = importlib.resources.files("mlp_export").joinpath("data/calibration")
SPECIAL_IDS = range(BOS_ID, BOS_ID + len(SPECIAL_TOKENS))
TEMPLATE = ChatTemplate(CHAT_TEMPLATE, {"bos_token": BOS})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Nearly a token a byte, with BOS before a text."""
    return Tokenizer(small_tokenizer())


@pytest.fixture(scope="module")
def bare() -> Tokenizer:
    """The same without a post-processor: nothing puts BOS, as for SmolLM2."""
    inner = small_tokenizer()
    inner.post_processor = None
    return Tokenizer(inner)


def prose(name: str = "encyclopedic.txt") -> str:
    return DATA.joinpath(name).read_text(encoding="utf-8")


def write(path: Path, content: str | bytes | Sequence[Any]) -> Path:
    """A text, bytes, or records as JSON lines."""
    if isinstance(content, str):
        content = content.encode()
    elif not isinstance(content, bytes):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content).encode()
    path.write_bytes(content)
    return path


def conversations() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(prose("conversations.json"))
    return records


def sequences(
    tokenizer: Tokenizer, template: ChatTemplate | None, files: Sequence[Path], tokens: int, length: int
) -> CalibrationSequences:
    """Of files, in one step."""
    return calibration_sequences(tokenizer, template, read_texts(files), tokens, length)


def flat(found: CalibrationSequences) -> list[int]:
    ids: list[int] = found.ids.flatten().tolist()
    return ids


# ---- the text that ships


def test_shipped_text_is_dealt_by_shares_and_starts_with_bos(tokenizer: Tokenizer) -> None:
    found = sequences(tokenizer, TEMPLATE, [], 12_288, 512)
    assert found.ids.shape == (24, 512) and found.ids.dtype == torch.int64
    assert int(found.ids.min()) >= 0 and int(found.ids.max()) < VOCAB_SIZE
    assert found.ids[:, 0].tolist() == [BOS_ID] * 24
    assert sum(found.tokens.values()) == 12_288 and found.notes == ()
    shares = {name: count / 12_288 for name, count in found.tokens.items()}
    # A document of up to 3,000 bytes, which are tokens here, is taken whole.
    assert shares == pytest.approx({"prose": 0.30, "code": 0.16, "languages": 0.12, "conversations": 0.42}, abs=0.13)
    again = sequences(tokenizer, TEMPLATE, [], 12_288, 512)
    assert again.sha256 == found.sha256 and torch.equal(again.ids, found.ids)


def test_fewer_tokens_are_a_beginning_of_more(tokenizer: Tokenizer) -> None:
    few, many = (sequences(tokenizer, TEMPLATE, [], tokens, 256) for tokens in (4_000, 8_192))
    assert few.ids.shape == (15, 256) and torch.equal(few.ids, many.ids[:15])
    assert few.sha256 != many.sha256
    assert "4,000" not in str(few.notes) and "3,840 tokens" in str(few.notes) and many.notes == ()


def test_base_models_get_conversations_as_text(tokenizer: Tokenizer) -> None:
    found = sequences(tokenizer, None, [], 12_288, 512)
    assert found.notes == () and found.tokens["conversations"] > 2_000
    assert {i for i in flat(found) if i in SPECIAL_IDS} == {BOS_ID}
    # Negative control: with the template there are its tokens.
    with_template = sequences(tokenizer, TEMPLATE, [], 12_288, 512)
    assert {i for i in flat(with_template) if i in SPECIAL_IDS} == {BOS_ID, EOT_ID, BOS_ID + 4, BOS_ID + 5}


def test_a_template_that_takes_no_conversation_is_told(tokenizer: Tokenizer) -> None:
    never = ChatTemplate("{{ raise_exception('not today') }}")
    found = sequences(tokenizer, never, [], 12_288, 512)
    assert found.tokens["conversations"] == 0 and found.ids.shape == (24, 512)
    assert len(found.notes) == 1 and "not today" in found.notes[0]


def test_demo_model_gets_a_quarter_in_its_template(demo_checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_folder(demo_checkpoint)
    found = sequences(tokenizer, read_chat_template(demo_checkpoint), [], 12_288, 512)
    assert found.ids.shape == (24, 512) and found.notes == ()
    shares = {name: count / 12_288 for name, count in found.tokens.items()}
    # A piece is dealt whole: the second of languages.txt's two has 1,300 tokens.
    assert shares == pytest.approx({"prose": 0.30, "code": 0.16, "languages": 0.12, "conversations": 0.42}, abs=0.05)
    starts, ends = flat(found).count(1), flat(found).count(2)
    assert abs(starts - ends) <= 1 and starts > 100  # every turn is opened and closed: at most the last is cut
    assert found.ids.unique().numel() > 2_500


def test_shipped_files_are_what_they_say() -> None:
    names = {entry.name for entry in DATA.iterdir()}
    assert names == {name for _, _, files in module._SHIPPED for name in files}
    assert sum(share for _, share, _ in module._SHIPPED) == pytest.approx(1)
    texts = {name: prose(name) for name in names}
    assert not any(module._holds_evaluation_text(text) for text in texts.values())
    assert module._distinct_share([text for name, text in texts.items() if not name.endswith(".json")]) > 0.95
    fences = set(re.findall(r"^```(\w+)$", texts["code.md"], re.MULTILINE))
    assert {"python", "c", "kotlin", "swift", "json", "bash", "sql"} <= fences
    roles = [tuple(message["role"] for message in record["messages"]) for record in conversations()]
    assert all(turns[-1] == "assistant" for turns in roles)
    assert any(turns[0] == "system" for turns in roles) and any(len(turns) > 3 for turns in roles)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "data/calibration/*" in project["tool"]["setuptools"]["package-data"]["mlp_export"]


def test_languages_of_the_shipped_text() -> None:
    paragraphs = prose("languages.txt").strip().split("\n\n")
    expected = [
        *("German", "French", "Spanish", "Italian", "Portuguese", "Dutch", "Polish", "Cyrillic", "Chinese", "Japanese"),
        *("Devanagari", "Arabic script", "Indonesian", "Turkish", "Korean", "Swedish, Norwegian or Danish"),
    ]
    assert [spoken_language(paragraph) for paragraph in paragraphs] == expected
    assert {spoken_language(piece) for piece in prose().split("\n\n")} == {"English"}
    for code in re.findall(r"^```\w+\n(.*?)^```$", prose("code.md"), re.MULTILINE | re.DOTALL)[1:7]:
        assert spoken_language(code) is None, code
    assert spoken_language("") is None and spoken_language("12 + 30 = 42") is None


# ---- ids


def test_conversations_are_what_transformers_renders(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_tokenizer(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    records = conversations()
    file = write(tmp_path / "chat.jsonl", records)
    found = sequences(tokenizer, read_chat_template(tmp_path), [file], 8_192, 8_192)
    # One row, so that nothing is cut; the order is the spread one.
    order = sorted(range(len(records)), key=lambda i: i * 0.6180339887498949 % 1)
    expected: list[int] = []
    for i in order:
        ids: Any = reference.apply_chat_template(records[i]["messages"], tokenize=True, return_dict=False)
        expected += ids
    assert flat(found) == expected[:8_192]
    assert list(found.tokens) == [str(file)]


def test_plain_text_is_what_transformers_encodes(tmp_path: Path, tokenizer: Tokenizer, bare: Tokenizer) -> None:
    write_tokenizer(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    text = prose()[:2_900]  # short enough to stay in one piece, but for blank lines
    file = write(tmp_path / "a.txt", text.replace("\n\n", "\n"))
    found = sequences(tokenizer, None, [file], 2_048, 2_048)
    assert flat(found) == reference(text.replace("\n\n", "\n"))["input_ids"][:2_048]
    found = sequences(bare, None, [file], 2_048, 2_048)
    assert flat(found) == reference(text.replace("\n\n", "\n"), add_special_tokens=False)["input_ids"][:2_048]


def test_what_is_cut_goes_on_behind_bos(tmp_path: Path, tokenizer: Tokenizer, bare: Tokenizer) -> None:
    file = write(tmp_path / "a.txt", prose()[:2_900].replace("\n\n", "\n"))
    whole = flat(sequences(bare, None, [file], 2_304, 2_304))
    rows = sequences(tokenizer, None, [file], 2_304, 256).ids
    assert rows[:, 0].tolist() == [BOS_ID] * 9
    assert rows[:, 1:].flatten().tolist() == whole[: 9 * 255]
    rows = sequences(bare, None, [file], 2_304, 256).ids
    assert rows.flatten().tolist() == whole


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    plain = write(tmp_path / "a.txt", prose())
    other = write(tmp_path / "b.txt", b"\xef\xbb\xbf" + prose().replace("\n", "\r\n").encode())
    first, second = (sequences(tokenizer, None, [file], 4_096, 512) for file in (plain, other))
    assert first.sha256 == second.sha256


@pytest.mark.parametrize(
    "form",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Q"}]},
                {"role": "assistant", "content": "A"},
            ]
        },
        [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"prompt": "Q", "completion": "A", "id": 7},
        {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
        {"instruction": "Q", "input": "", "output": "A"},
    ],
)
def test_forms_of_finetuning_data(form: Any) -> None:
    document = module._parse(form, "x")
    assert document is not None
    assert [(message.role, message.content) for message in document.messages] == [("user", "Q"), ("assistant", "A")]


def test_further_forms_of_finetuning_data() -> None:
    with_input = module._parse({"instruction": "Q", "input": "I", "output": "A", "system": "S"}, "x")
    assert with_input is not None and [message.content for message in with_input.messages] == ["S", "Q\n\nI", "A"]
    assert module._parse({"text": "T"}, "x") == module._Document("T")


def test_json_list_and_json_lines_are_equal(tmp_path: Path, tokenizer: Tokenizer) -> None:
    lines = write(tmp_path / "a.jsonl", conversations())
    whole = write(tmp_path / "a.json", json.dumps(conversations()))
    first, second = (sequences(tokenizer, TEMPLATE, [file], 4_096, 512) for file in (lines, whole))
    assert first.sha256 == second.sha256 and first.notes == second.notes


def test_sha256_is_of_the_ids(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.jsonl", conversations())
    found = sequences(tokenizer, TEMPLATE, [file], 4_096, 512)
    packed = b"8 x 512\n" + struct.pack("<4096i", *flat(found))
    assert found.sha256 == hashlib.sha256(packed).hexdigest()
    other = ChatTemplate(CHAT_TEMPLATE.replace("eot", "end_of_text"), {"bos_token": BOS})
    assert sequences(tokenizer, other, [file], 4_096, 512).sha256 != found.sha256
    assert sequences(tokenizer, TEMPLATE, [file], 4_096, 256).sha256 != found.sha256


def test_a_date_in_the_template_does_not_change_the_ids(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dated = ChatTemplate(
        "{{ strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' }}" + CHAT_TEMPLATE,
        {"bos_token": BOS},
    )
    file = write(tmp_path / "a.jsonl", conversations())
    ids = flat(sequences(tokenizer, dated, [file], 4_096, 512))
    assert tokenizer.decode(ids[:40]).startswith("26 Jul 2024")


# ---- which parts are taken


def test_few_tokens_are_taken_from_all_over_a_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    letters = random.Random(0)
    blocks = [f"Block {i:04d}. " + "".join(letters.choices("abcdefgh ", k=1_600)) for i in range(100)]
    file = write(tmp_path / "a.txt", "\n\n".join(blocks))
    found = sequences(tokenizer, None, [file], 16_384, 512)
    numbers = sorted(int(n) for n in re.findall(r"Block (\d{4})", tokenizer.decode(flat(found))))
    assert len(numbers) >= 8 and numbers[0] < 15 and numbers[-1] > 85
    assert max(b - a for a, b in itertools.pairwise(numbers)) < 30


def test_files_have_equal_shares_until_one_runs_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    large = write(tmp_path / "a.txt", "".join(prose(name) for name in ("encyclopedic.txt", "stories.txt", "news.txt")))
    small = write(tmp_path / "b.txt", prose("howto.md"))
    found = sequences(tokenizer, None, [large, small], 4_096, 512)
    assert found.tokens[str(large)] == pytest.approx(found.tokens[str(small)], abs=2_000)
    more = sequences(tokenizer, None, [large, small], 12_288, 512)
    assert more.tokens[str(small)] < 4_000 and sum(more.tokens.values()) == 12_288


def test_of_a_large_file_the_beginning_is_read(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 4_000)
    text = prose() + "\0"
    found = sequences(tokenizer, None, [write(tmp_path / "a.txt", text)], 2_048, 512)
    assert "the first" in found.notes[0] and "a.txt" in found.notes[0]
    with pytest.raises(InputError, match="takes less than one of them"):
        sequences(tokenizer, None, [write(tmp_path / "a.json", json.dumps([text]))], 2_048, 512)
    with pytest.raises(InputError, match=r"the first line of .*jsonl has more than 4 kB"):
        sequences(tokenizer, None, [write(tmp_path / "a.jsonl", json.dumps({"text": text}))], 2_048, 512)
    line = prose().replace("\n", " ")[:3_999] + 2_000 * "\u6f22"  # as text8 is; the limit is within a character
    found = sequences(tokenizer, None, [write(tmp_path / "a.txt", line)], 2_048, 512)
    assert "the first 4 kB are read" in found.notes[0]


# ---- told


def notes(tokenizer: Tokenizer, template: ChatTemplate | None, *files: Path, tokens: int = 12_288) -> str:
    return "\n".join(sequences(tokenizer, template, files, tokens, 512).notes)


def test_a_mix_in_the_template_is_not_told_of(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The control of all that follows."""
    mix = [write(tmp_path / name, prose(name)) for name in ("stories.txt", "languages.txt", "conversations.json")]
    assert notes(tokenizer, TEMPLATE, *mix) == ""


def test_a_text_without_the_template_is_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    files = [write(tmp_path / name, prose(name)) for name in ("encyclopedic.txt", "stories.txt", "languages.txt")]
    assert notes(tokenizer, TEMPLATE, *files, tokens=8_192).startswith("the calibration text has no conversations")
    assert notes(tokenizer, None, *files, tokens=8_192) == ""


def test_conversations_for_a_base_model_are_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.jsonl", conversations())
    assert "no chat template" in notes(tokenizer, None, file)
    assert "no chat template" not in notes(tokenizer, TEMPLATE, file)


def test_one_language_is_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    english = [record for record in conversations() if record["messages"][-1]["content"].isascii()]
    assert "of one language (English)" in notes(tokenizer, TEMPLATE, write(tmp_path / "a.jsonl", english))
    rows = "\n".join(f"{i * 7919 % 99991};{i * 104729 % 65521};X{i:05d};{i * i}" for i in range(400))
    assert "no language was recognised" in notes(tokenizer, None, write(tmp_path / "a.csv", rows), tokens=4_096)


def test_few_tokens_are_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.txt", prose())
    text = notes(tokenizer, None, file, tokens=12_288)
    assert "has 4,096 tokens in whole sequences of 512, 12,288 were asked" in text and "fewer than 8,192" in text
    assert "were asked" not in notes(tokenizer, None, file, tokens=4_096)


def test_repeats_are_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.txt", prose() * 3)
    assert "repeats itself: 34%" in notes(tokenizer, None, file)
    assert "repeats itself" not in notes(tokenizer, None, write(tmp_path / "a.txt", prose()))


def test_spelled_special_tokens_are_text_and_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.txt", prose().replace(". ", f".{EOT} "))
    found = sequences(tokenizer, None, [file], 4_096, 512)
    assert {i for i in flat(found) if i in SPECIAL_IDS} == {BOS_ID} and EOT in tokenizer.decode(flat(found))
    assert "spells special tokens" in str(found.notes)


def test_conversations_that_spell_special_tokens_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    records = conversations()
    bad = {"prompt": f"Unforgettable{EOT}", "response": "yes"}
    clean = sequences(tokenizer, TEMPLATE, [write(tmp_path / "a.jsonl", records)], 4_096, 512)
    found = sequences(tokenizer, TEMPLATE, [write(tmp_path / "a.jsonl", [*records, bad])], 30_000, 500)
    assert "spell special tokens are left out: 1" in str(found.notes)
    assert "Unforgettable" not in tokenizer.decode(flat(found))
    assert not any("spell" in note for note in clean.notes)


def test_conversations_with_tools_or_pictures_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    question = {"role": "user", "content": "Unforgettable"}
    others = [
        {"messages": [question, {"role": "assistant", "content": None, "tool_calls": []}]},
        {"messages": [question, {"role": "tool", "content": "21 degrees"}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, question]},
    ]
    clean = sequences(tokenizer, TEMPLATE, [write(tmp_path / "a.jsonl", conversations())], 30_000, 500)
    found = sequences(tokenizer, TEMPLATE, [write(tmp_path / "a.jsonl", [*conversations(), *others])], 30_000, 500)
    assert "with tools or pictures are left out: 3" in found.notes[0] and not any("tools" in n for n in clean.notes)
    assert found.sha256 == clean.sha256


def test_conversations_that_the_template_refuses_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    no_system = ChatTemplate(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHAT_TEMPLATE,
        {"bos_token": BOS},
    )
    records = conversations()
    refused = sum(record["messages"][0]["role"] == "system" for record in records)
    file = write(tmp_path / "a.jsonl", records)
    text = notes(tokenizer, no_system, file, tokens=1 << 20)
    assert f"does not take are left out: {refused} (" in text and "no system here" in text
    only = [record for record in records if record["messages"][0]["role"] == "system"]
    with pytest.raises(InputError, match="no system here"):
        notes(tokenizer, no_system, write(tmp_path / "a.jsonl", only * 5))


def test_a_file_that_the_template_takes_nothing_of_is_given_up(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ChatTemplate("{{ raise_exception('not today') }}")
    files = [write(tmp_path / "a.jsonl", conversations()), write(tmp_path / "b.txt", prose())]
    assert f"left out: {len(conversations())} (" in notes(tokenizer, never, *files)
    monkeypatch.setattr(module, "_GIVE_UP", 5)
    assert "left out: 5 (" in notes(tokenizer, never, *files)
    # Negative control: it is not given up where some are taken.
    some = ChatTemplate("{% if messages|length > 2 %}{{ raise_exception('no') }}{% endif %}" + CHAT_TEMPLATE)
    long = sum(len(record["messages"]) > 2 for record in conversations())
    assert f"left out: {long} (" in notes(tokenizer, some, *files, tokens=1 << 20) and long > 5


# ---- refused


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n\t", "is empty"),
        ("a.jsonl", b"\n", "is empty"),
        ("a.json", b"[]", "holds no text"),
        ("a.jsonl", [{"prompt": "", "response": ""}], "holds no text"),
        ("a.txt", "Grüße".encode("utf-16"), "not UTF-8 text"),
        ("a.md", b"text\0more", "it has NUL characters"),
        ("a.parquet", b"PAR1\x15\x04\xff", "not UTF-8 text"),
        ("a.txt", b"Only a few words.", "0 calibration tokens"),
        ("a.jsonl", b'{"prompt": "a", "response": "b"}\n{"prompt": ', "line 2 is not valid JSON"),
        ("a.jsonl", b"3\n", "line 1 holds a number, expected a conversation"),
        ("a.jsonl", [{"question": "a", "reply": "b"}], "has the keys question, reply"),
        ("a.jsonl", [{"messages": []}], "has the keys messages"),
        ("a.jsonl", [{"messages": [{"role": "tool", "content": "b"}]}], "holds no text"),
        ("a.jsonl", [{"messages": ["hello"]}], "a message without a role"),
        ("a.jsonl", [{"prompt": f"a{EOT}", "response": "b"}], "spell special tokens are left out: 1"),
    ],
)
def test_bad_files(tmp_path: Path, tokenizer: Tokenizer, name: str, content: Any, message: str) -> None:
    file = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        sequences(tokenizer, TEMPLATE, [file], 4_096, 512)
    assert message in caught.value.message and str(file) in caught.value.message and caught.value.hint


def test_missing_files_and_folders(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            sequences(tokenizer, None, [path], 4_096, 512)


def test_too_few_tokens_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = write(tmp_path / "a.txt", prose()[:2_000])
    with pytest.raises(InputError, match="1,536 calibration tokens in whole sequences, expected 2,048"):
        sequences(tokenizer, None, [file], 12_288, 512)
    # As many as were asked for are enough: who asks for few has a reason, and is told.
    found = sequences(tokenizer, None, [file], 1_024, 512)
    assert found.ids.shape == (2, 512) and "fewer than 8,192" in str(found.notes)


@pytest.mark.parametrize(("tokens", "length"), [(511, 512), (0, 512), (512, 0)])
def test_no_whole_sequence(tokenizer: Tokenizer, tokens: int, length: int) -> None:
    with pytest.raises(UsageError):
        sequences(tokenizer, None, [], tokens, length)


def test_a_text_of_repeats_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    line = "All work and no play makes Jack a dull boy, and the days go by.\n\n"
    with pytest.raises(InputError, match="repeats itself"):
        sequences(tokenizer, None, [write(tmp_path / "a.txt", line * 300)], 12_288, 512)
    numbered = [{"prompt": f"Number {i}?", "response": line} for i in range(300)]
    assert "repeats itself" in notes(tokenizer, TEMPLATE, write(tmp_path / "a.jsonl", numbered))


def test_evaluation_text_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sentence = max(re.split(r"(?<=[.?!])\s+", shipped_text()), key=len)
    wrapped = "\n".join(re.findall(r".{1,40}(?:\s|$)", sentence))
    for name, content in (
        ("a.txt", prose() + shipped_text()),
        ("b.txt", prose() + wrapped),
        ("c.jsonl", [*conversations(), {"prompt": "Tell me something.", "response": sentence}]),
    ):
        file = write(tmp_path / name, content)
        with pytest.raises(InputError, match="quantization errors are measured on"):
            sequences(tokenizer, TEMPLATE, [file], 4_096, 512)
    # Negative control: the same without it, and with a few of its words.
    for content in (prose(), prose() + " ".join(sentence.split()[:6])):
        sequences(tokenizer, TEMPLATE, [write(tmp_path / "d.txt", content)], 4_096, 512)
