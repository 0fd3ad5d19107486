"""Tokens from all files of a checkpoint: ids are those of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_checkpoints import (
    BOS,
    BOS_ID,
    CHAT_TEMPLATE,
    EOS,
    EOS_ID,
    EOT,
    EOT_ID,
    SPECIAL_TOKENS,
    config_json,
    small_tokenizer,
)
from tokenizers import Tokenizer as HFTokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer

from mlp_export.checkpoints.config import id_conflicts, read_config
from mlp_export.errors import InputError
from mlp_export.text.chat import Message, read_chat_template
from mlp_export.text.tokenizer import Tokenizer

MARKS = ("<|im_start|>", "<|im_end|>")
TEXT = "<|im_start|>user\nHello the<|im_end|>\n <|im_end|> <tool> Hello"
VOCAB_SIZE = 320


def flags(text: str, **changes: bool) -> dict[str, Any]:
    plain = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    return {"__type": "AddedToken", "content": text, "special": True, **plain, **changes}


DECODER = {"306": flags(MARKS[0]), "307": flags(MARKS[1])}


def write(folder: Path, settings: dict[str, Any], **files: dict[str, Any]) -> Path:
    """A checkpoint without weights, whose tokenizer.json ends with id 305; None removes a setting."""
    small_tokenizer(SPECIAL_TOKENS).save(str(folder / "tokenizer.json"))
    values = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "chat_template": CHAT_TEMPLATE,
        **settings,
    }
    values = {key: value for key, value in values.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    (folder / "config.json").write_text(json.dumps(config_json("llama", eos_token_id=EOS_ID)))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({}, {"added_tokens": {MARKS[0]: 306, MARKS[1]: 307}}),
        ({}, {"added_tokens": {MARKS[1]: 307, MARKS[0]: 306}}),
        ({"additional_special_tokens": [*MARKS]}, {"added_tokens": {MARKS[0]: 306, MARKS[1]: 307}}),
        ({"added_tokens_decoder": DECODER}, {}),
        ({"added_tokens_decoder": {**DECODER, "308": flags("<tool>", special=False, normalized=True)}}, {}),
        ({"added_tokens_decoder": {"306": flags(MARKS[0], rstrip=True), "307": flags(MARKS[1], lstrip=True)}}, {}),
        # With a decoder the older files do not count.
        ({"added_tokens_decoder": DECODER}, {"added_tokens": {"<tool>": 308}}),
        ({"added_tokens_decoder": DECODER}, {"special_tokens_map": {"pad_token": "<tool>"}}),
        ({"additional_special_tokens": [*MARKS]}, {}),
        ({"extra_special_tokens": [*MARKS]}, {}),
        ({"extra_special_tokens": {"start_token": MARKS[0], "end_token": MARKS[1]}}, {}),
        ({"additional_special_tokens": [flags(MARKS[0]), MARKS[1]]}, {}),
        ({}, {"special_tokens_map": {"additional_special_tokens": [*MARKS]}}),
        ({}, {"special_tokens_map": {"pad_token": MARKS[0], "sep_token": flags(MARKS[1])}}),
        ({"pad_token": MARKS[0], "eos_token": flags(MARKS[1])}, {}),
        ({"eos_token": MARKS[1]}, {"special_tokens_map": {"eos_token": MARKS[0]}}),
    ],
)
def test_ids_are_those_of_transformers(tmp_path: Path, settings: dict[str, Any], files: dict[str, Any]) -> None:
    folder = write(tmp_path, settings, **files)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder, VOCAB_SIZE)
    plain = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    expected = theirs(TEXT, add_special_tokens=False)["input_ids"]
    assert ours.encode(TEXT, bos=False, special=True) == expected
    assert plain.encode(TEXT, add_special_tokens=False).ids != expected  # the file alone is not enough
    assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True)
    conversation = [Message("user", "Hello"), Message("assistant", "Hello"), Message("user", "the")]
    template = read_chat_template(folder)
    assert template is not None
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
    assert template.render(conversation) == theirs.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert read_config(folder).eos_ids == tuple(dict.fromkeys((EOS_ID, theirs.eos_token_id)))


def test_a_named_token_that_the_vocabulary_has(tmp_path: Path) -> None:
    folder = write(tmp_path, {"pad_token": "Fr"})
    ids = AutoTokenizer.from_pretrained(folder)("aFrance", add_special_tokens=False)["input_ids"]
    ours = Tokenizer.from_folder(folder, VOCAB_SIZE)
    assert ours.encode("aFrance", bos=False, special=True) == ids and ours.token_id("Fr") in ids
    assert ours.vocab_size == 306


def test_a_bundle_has_them_in_its_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "b").mkdir()
    ours = Tokenizer.from_folder(write(tmp_path / "m", {"added_tokens_decoder": DECODER}), VOCAB_SIZE)
    assert ours.write(tmp_path / "b") == ("tokenizer.json",)
    ids = ours.encode(TEXT, bos=True, special=True)
    assert Tokenizer.from_folder(tmp_path / "b", VOCAB_SIZE).encode(TEXT, bos=True, special=True) == ids
    assert 306 in ids and ids[0] == BOS_ID


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({}, {"added_tokens": {MARKS[0]: 310}}),
        ({"added_tokens_decoder": {"12": flags(MARKS[0])}}, {}),
        ({"added_tokens_decoder": {"302": flags(EOS)}}, {}),  # which tokenizer.json has as 301
    ],
)
def test_ids_that_differ_are_told(tmp_path: Path, settings: dict[str, Any], files: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"in tokenizer\.json"):
        Tokenizer.from_folder(write(tmp_path, settings, **files), VOCAB_SIZE)


def test_a_padding_token_without_embedding_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, {"pad_token": "[PAD]"})
    assert Tokenizer.from_folder(folder, 306).token_id("[PAD]") is None
    assert Tokenizer.from_folder(folder, 307).token_id("[PAD]") == 306


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"added_tokens_decoder": []}, {}),
        ({"added_tokens_decoder": {"x": flags(EOS)}}, {}),
        ({"added_tokens_decoder": {"306": "text"}}, {}),
        ({"bos_token": 3}, {}),
        ({"extra_special_tokens": "text"}, {}),
        ({"extra_special_tokens": [3]}, {}),
        ({}, {"added_tokens": {"x": "306"}}),
        ({}, {"added_tokens": {"x": -1}}),
        ({}, {"special_tokens_map": {"eos_token": [EOS]}}),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, settings: dict[str, Any], files: dict[str, Any]) -> None:
    folder = write(tmp_path, settings, **files)
    for read in (read_config, Tokenizer.from_folder, read_chat_template):
        with pytest.raises(InputError, match="expected tokens"):
            read(folder)


@pytest.mark.parametrize("key", ["eos_token", "bos_token"])
@pytest.mark.parametrize("place", ["tokenizer_config", "special_tokens_map", "generation_config"])
def test_start_and_stop_ids_from_every_file(tmp_path: Path, key: str, place: str) -> None:
    folder = write(tmp_path, {key: EOT if place == "tokenizer_config" else None})
    if place == "special_tokens_map":
        (folder / "special_tokens_map.json").write_text(json.dumps({key: EOT}))
    if place == "generation_config":
        (folder / "generation_config.json").write_text(json.dumps({f"{key}_id": EOT_ID}))
    values = config_json("llama", eos_token_id=EOS_ID, bos_token_id=None)
    (folder / "config.json").write_text(json.dumps(values))
    config = read_config(folder)
    if key == "eos_token":
        assert config.eos_ids == (EOS_ID, EOT_ID)
    else:
        assert config.bos_id == EOT_ID


@pytest.mark.parametrize("missing", [False, True])
def test_a_model_without_a_start_token(tmp_path: Path, missing: bool) -> None:
    folder = write(tmp_path, {"bos_token": None})
    values: dict[str, Any] = {**config_json("llama", eos_token_id=EOS_ID), "bos_token_id": None}
    if missing:
        del values["bos_token_id"]
    (folder / "config.json").write_text(json.dumps(values))
    assert read_config(folder).bos_id == EOS_ID  # a place holder that nothing puts


def test_a_stop_token_beyond_the_embedding_is_no_stop_id(tmp_path: Path) -> None:
    folder = write(tmp_path, {"eos_token": "<x>", "added_tokens_decoder": {"320": flags("<x>")}})
    assert read_config(folder).eos_ids == (EOS_ID,)


def test_no_stop_id_in_any_file(tmp_path: Path) -> None:
    folder = write(tmp_path, {"eos_token": None})
    (folder / "config.json").write_text(json.dumps(config_json("llama", eos_token_id=None)))
    with pytest.raises(InputError, match="eos_token_id"):
        read_config(folder)


@pytest.mark.parametrize(
    ("settings", "generation", "told"),
    [
        ({"eos_token": EOS}, {}, []),
        ({"eos_token": EOT}, {"eos_token_id": [EOS_ID, EOT_ID]}, []),  # generation_config.json adds it
        (
            {"eos_token": EOT},
            {"eos_token_id": [EOT_ID]},
            ["stop tokens differ (301 in config.json; 302 in generation_config.json)"],
        ),
        ({"eos_token": EOT}, {}, ["stop tokens differ (301 in config.json; 302 in the tokenizer's files)"]),
        ({"bos_token": EOT}, {}, ["start tokens differ (300 in config.json; 302 in the tokenizer's files)"]),
        ({}, {"bos_token_id": 301}, ["301 in generation_config.json; 300 in the tokenizer's files)"]),
        ({"bos_token": None, "eos_token": None}, {}, []),
    ],
)
def test_files_that_name_different_tokens_are_told(
    tmp_path: Path, settings: dict[str, Any], generation: dict[str, Any], told: list[str]
) -> None:
    folder = write(tmp_path, settings)
    (folder / "config.json").write_text(json.dumps(config_json("llama", eos_token_id=EOS_ID)))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    found = id_conflicts(folder)
    assert len(found) == len(told) and all(part in line for part, line in zip(told, found, strict=True)), found


def test_a_template_without_the_text(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    values = json.loads((folder / "tokenizer.json").read_text())
    template: dict[str, Any] = {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    for processor in (template, {"type": "Sequence", "processors": [template]}):
        (folder / "tokenizer.json").write_text(json.dumps(values | {"post_processor": processor}))
        with pytest.raises(InputError, match="`post_processor` leaves the text out"):
            Tokenizer.from_folder(folder)
    template["single"].append({"Sequence": {"id": "A", "type_id": 0}})
    template["pair"] += [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    (folder / "tokenizer.json").write_text(json.dumps(values | {"post_processor": template}))
    assert Tokenizer.from_folder(folder).encode("E", bos=False, special=False)  # the control


@pytest.mark.parametrize("number", [VOCAB_SIZE, 2**31])
def test_an_id_that_no_token_has_is_put_before_a_text(tmp_path: Path, number: int) -> None:
    folder = write(tmp_path, {})
    values = json.loads((folder / "tokenizer.json").read_text())
    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]

    def template(put: int) -> dict[str, Any]:
        start = {BOS: {"id": BOS, "ids": [put], "tokens": [BOS]}}
        single = [{"SpecialToken": {"id": BOS, "type_id": 0}}, texts[0]]
        return {"type": "TemplateProcessing", "single": single, "pair": texts, "special_tokens": start}

    def roberta(put: int) -> dict[str, Any]:
        ends = {"cls": [BOS, put], "sep": [EOT, EOT_ID]}
        return {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False, **ends}

    for processor in (template, roberta):
        (folder / "tokenizer.json").write_text(json.dumps(values | {"post_processor": processor(BOS_ID)}))
        assert Tokenizer.from_folder(folder).encode("", bos=True, special=False)[0] == BOS_ID
        (folder / "tokenizer.json").write_text(json.dumps(values | {"post_processor": processor(number)}))
        with pytest.raises(InputError, match=f"`post_processor` puts the id {number}"):
            Tokenizer.from_folder(folder)


def test_two_tokens_of_one_id(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"]["3"] = values["model"]["vocab"]["E"]
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="'3' and 'E' have one id"):
        Tokenizer.from_folder(folder, VOCAB_SIZE)


def test_what_the_library_cannot_do_with_a_file_is_told(tmp_path: Path) -> None:
    """A panic of its Rust is no Exception, and a text that it has no token for raises a bare one."""
    folder = write(tmp_path, {})
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["continuing_subword_prefix"] = "none"
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer: range end index"):
        Tokenizer.from_folder(folder, VOCAB_SIZE)
    words = HFTokenizer(WordLevel({"a": 0}, unk_token="<unk>"))
    with pytest.raises(InputError, match="cannot encode: WordLevel error: Missing"):
        Tokenizer(words).encode("b", bos=False, special=False)
