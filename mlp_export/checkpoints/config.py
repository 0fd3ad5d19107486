"""The shape of a checkpoint folder's model, out of all files that say something of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mlp_export.checkpoints.formats.recognize import quantization_config
from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object
from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.families import config_from_json
from mlp_export.text.special_tokens import token_ids

TRAINED_FOR = "quantization_aware_training"  # a key of config.json, which mlp-export alone reads


def stated_training(folder: Path) -> Literal["int4-cpu", "int4-accelerator"] | None:
    """What the folder's config.json says that its weights were trained to be quantized to.

    The group-wise QAT checkpoint ("int4-cpu") holds plain bf16 tensors: nothing else in its files tells it from a float
    model. Raises InputError for another value.
    """
    path = folder / "config.json"
    value = read_json_object(path).get(TRAINED_FOR)
    if value not in (None, "int4-cpu", "int4-accelerator"):
        raise InputError(
            f"{path}: `{TRAINED_FOR}` is {value!r}, expected int4-cpu or int4-accelerator", "correct it or remove it"
        )
    return value


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a checkpoint folder: `config.json`, with what other files say of its start and stop ids.

    Stop ids are those of config.json, of generation_config.json and the `eos_token` of the tokenizer's files, together.

    Raises InputError where a file is missing, is not JSON, or is refused by `config_from_json`.
    """
    path = folder / "config.json"
    if not path.is_file():
        hint = "give the folder that holds config.json, *.safetensors and tokenizer.json"
        subfolders = sorted(p.parent.name for p in folder.glob("*/config.json")) if folder.is_dir() else []
        if subfolders:
            hint = (
                f"it has checkpoints in subfolders: give one of {', '.join(str(folder / name) for name in subfolders)}"
            )
        raise InputError(f"no config.json in {folder}", hint)
    values = dict(read_json_object(path))
    values.pop(TRAINED_FOR, None)
    quantization_config(values, folder)  # a format that cannot be read is named before anything else is asked
    generation = folder / "generation_config.json"
    if generation.is_file():
        keys = Keys(read_json_object(generation), str(generation))
        extra = keys.token_ids("eos_token_id")
        own = Keys(values, str(path)).token_ids("eos_token_id")
        values["eos_token_id"] = [*own, *(i for i in extra if i not in own)]
        if values.get("bos_token_id") is None:
            values["bos_token_id"] = keys.values.get("bos_token_id")
    spelled = token_ids(folder, "bos_token", "eos_token")
    if values.get("bos_token_id") is None:
        values["bos_token_id"] = spelled.get("bos_token")
    own = Keys(values, str(path)).token_ids("eos_token_id")
    eos, size = spelled.get("eos_token"), values.get("vocab_size")
    # A token beyond the embedding's rows can never be answered.
    if eos is not None and eos not in own and isinstance(size, int) and eos < size:
        values["eos_token_id"] = [*own, eos]
    return config_from_json(values, str(path))


def id_conflicts(folder: Path) -> list[str]:
    """Where the files of a checkpoint name different start or stop tokens, a sentence each: what counts, and of whom.

    Raises InputError as `read_config` does.
    """
    stated: dict[str, dict[str, tuple[int, ...]]] = {"bos": {}, "eos": {}}
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            keys = Keys(read_json_object(folder / name), str(folder / name))
            for kind, found in stated.items():
                if ids := keys.token_ids(f"{kind}_token_id"):
                    found[name] = ids
    for name, number in token_ids(folder, "bos_token", "eos_token").items():
        stated[name.removesuffix("_token")]["the tokenizer's files"] = (number,)
    told = []
    if len(set(stated["bos"].values())) > 1:
        told.append(f"start tokens differ ({_listed(stated['bos'])}): the tokenizer decides what a text begins with")
    spelled = stated["eos"].pop("the tokenizer's files", ())
    listed = [set(ids) for ids in stated["eos"].values()]
    unknown = bool(listed) and not set[int]().union(*listed).issuperset(spelled)
    if unknown:
        stated["eos"]["the tokenizer's files"] = spelled
    # generation_config.json often adds to config.json's; where they have none in common, one of them is likely wrong.
    if unknown or (listed and not set.intersection(*listed)):
        told.append(f"stop tokens differ ({_listed(stated['eos'])}): each ends an answer")
    return told


def _listed(stated: dict[str, tuple[int, ...]]) -> str:
    return "; ".join(f"{', '.join(map(str, ids))} in {name}" for name, ids in stated.items())
