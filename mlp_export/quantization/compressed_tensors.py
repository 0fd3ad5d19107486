"""Checkpoints in the pack-quantized form of compressed-tensors, which transformers and vLLM load.

Format (compressed-tensors 0.20): for a linear MODULE `MODULE.weight_packed` (int32, see `packing`),
`MODULE.weight_scale` [out, groups] and `MODULE.weight_shape` (int64, two numbers), and `quantization_config` in
config.json. A value is code x scale in the scale's dtype.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.checkpoints.formats import embedding_scales
from mlp_export.checkpoints.formats.packing import pack_words
from mlp_export.checkpoints.formats.safetensors_file import Entry, write_tensors
from mlp_export.checkpoints.license_files import LICENSE_PATTERNS
from mlp_export.errors import VerificationError
from mlp_export.folder_writer import FolderWriter, OutputKind
from mlp_export.jsonfile import read_json_object
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.quantization.store import QuantizedModel

METADATA_KEY = "mlp_export"  # of the record, in the header of model.safetensors
_WEIGHTS = "model.safetensors"
_HEAD = "lm_head"
# Beside the weights, what a checkpoint folder may hold: tokenizer, templates, generation defaults, licenses, and the
# modelling code that a config.json's `auto_map` names.
_COPIED = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
    *("chat_template*", "generation_config.json", "*.py"),
    *LICENSE_PATTERNS,
)


def write_checkpoint(
    model: QuantizedModel,
    folder: Path,
    record: Mapping[str, str],
    *,
    overwrite: bool = False,
    on_weight: Callable[[], object] = lambda: None,
) -> None:
    """Write `model` as a Hugging Face folder. It is at `folder` whole or not at all.

    Linears and head are packed. The embedding is stored as bf16(code x scale), since no loader takes a packed one
    everywhere; where the head has the same codes, a reader finds by the values that both are one matrix, and else the
    scales in `embedding_scales.FILE` give the codes back. `record` says how the weights were made: it goes into the
    header of the weights, under `METADATA_KEY`, and into README.md; "license" and "base_model" of it into that file's
    head as well. `on_weight` is called after each weight.

    The files hold bf16 scales, per-channel ones too: they must be chosen before the codes are. Raises ValueError for
    scales that bf16 does not hold or that are not positive, UsageError where `folder` is there and is not to be
    replaced, ResourceError for a full disk, and VerificationError where the files do not give the codes back.
    """
    checkpoint = model.checkpoint
    with FolderWriter(folder, KIND, overwrite) as writer:
        entries = _weight_entries(model, on_weight) + _vector_entries(model)
        metadata = {"format": "pt", METADATA_KEY: json.dumps(dict(record))}
        write_tensors(writer.folder / _WEIGHTS, entries, metadata)
        if not model.tied:
            scales = _entry(embedding_scales.SCALES, _checked_scales("embed", model.weight("embed")))
            write_tensors(
                writer.folder / embedding_scales.FILE,
                [scales],
                {embedding_scales.BITS: str(model.weight("embed").bits)},
            )
        for pattern in _COPIED:
            for path in sorted(checkpoint.path.glob(pattern)):
                if path.is_file():
                    shutil.copyfile(path, writer.folder / path.name)
        config = _config(model, read_json_object(checkpoint.path / "config.json"))
        _write_text(writer.folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        _write_text(writer.folder / "README.md", _model_card(model, record))
        _check_written(model, writer.folder)
        writer.move_into_place()


def read_record(folder: Path) -> dict[str, str] | None:
    """The record of a checkpoint that `write_checkpoint` made; None for any other folder."""
    try:
        with safe_open(folder / _WEIGHTS, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY)
        record = None if text is None else json.loads(text)
    except (OSError, SafetensorError, ValueError):
        return None
    return record if isinstance(record, dict) else None


# Only what this project wrote is ever replaced.
KIND = OutputKind("checkpoint", lambda folder: read_record(folder) is not None)


def _check_written(model: QuantizedModel, folder: Path) -> None:
    written = read_checkpoint(folder)
    for name in model.weight_names():
        found = written.quantized(name)
        if found is None or not found.equals(model.weight(name)):
            raise VerificationError(
                f"the checkpoint that was written does not hold the codes and scales of {name}",
                "nothing was written; please report it with the model's name",
            )


def _weight_entries(model: QuantizedModel, on_weight: Callable[[], object]) -> list[Entry]:
    checkpoint = model.checkpoint
    entries = []
    for name in checkpoint.weight_names():
        rows, columns = model.shape(name)
        if name == "embed":
            key = checkpoint.key(name)
            entries.append(Entry(key, torch.bfloat16, (rows, columns), _maker(model, name, _bf16_values, on_weight)))
            continue
        module = _module(checkpoint, name)
        form = _format(model, name)
        words = (rows, -(-columns * form.bits // 32))
        scales = (rows, form.scales_per_row(columns))
        entries += [
            Entry(f"{module}.weight_packed", torch.int32, words, _maker(model, name, _packed, on_weight)),
            Entry(f"{module}.weight_scale", torch.bfloat16, scales, _maker(model, name, _checked_scales)),
            _entry(f"{module}.weight_shape", torch.tensor([rows, columns])),
        ]
    return entries


def _format(model: QuantizedModel, name: str) -> WeightFormat:
    return model.scheme.format("embed" if name == "head" and model.tied else name)


def _vector_entries(model: QuantizedModel) -> list[Entry]:
    checkpoint, norms = model.checkpoint, model.norms
    names = checkpoint.vector_names()
    if unknown := norms.keys() - set(names):
        raise ValueError(f"the model has no norm {sorted(unknown)}")
    entries = []
    for name in names:
        value = checkpoint.as_stored(name, norms[name] if name in norms else checkpoint.tensor(name))
        half = value.to(torch.bfloat16)
        # As everything else where that is exact: transformers casts to one dtype, our reader takes what is there.
        entries.append(
            _entry(checkpoint.key(name), half if torch.equal(half.float(), value.float()) else value.float())
        )
    return entries


def _entry(key: str, tensor: torch.Tensor) -> Entry:
    return Entry(key, tensor.dtype, tuple(tensor.shape), lambda: tensor)


def _maker(
    model: QuantizedModel,
    name: str,
    form: Callable[[str, QuantizedWeight], torch.Tensor],
    on_weight: Callable[[], object] = lambda: None,
) -> Callable[[], torch.Tensor]:
    def make() -> torch.Tensor:
        result = form(name, model.weight(name))
        on_weight()
        return model.checkpoint.as_stored(name, result)

    return make


def _packed(name: str, weight: QuantizedWeight) -> torch.Tensor:
    return pack_words(weight.codes, weight.bits)


def _bf16_values(name: str, weight: QuantizedWeight) -> torch.Tensor:
    _checked_scales(name, weight)
    return weight.dequantize().to(torch.bfloat16)


def _checked_scales(name: str, weight: QuantizedWeight) -> torch.Tensor:
    scales = weight.scales.to(torch.bfloat16)
    if not torch.equal(scales.float(), weight.scales.float()):
        raise ValueError(f"the scales of {name} are {weight.scales.dtype} numbers that bf16 does not hold")
    if not bool((scales.isfinite() & (scales > 0)).all()):
        raise ValueError(f"the scales of {name} are not all finite numbers above 0")
    return scales


def _module(checkpoint: Checkpoint, name: str) -> str:
    return _HEAD if name == "head" else checkpoint.key(name).removesuffix(".weight")


def _config(model: QuantizedModel, source: Mapping[str, Any]) -> dict[str, Any]:
    """The source's config.json for these files."""
    config = {
        **source,
        "vocab_size": model.checkpoint.config.vocab_size,  # without rows that pad the source's matrices
        "tie_word_embeddings": False,
        "quantization_config": _quantization_config(model),
    }
    for key in [key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"]:
        config[key] = "bfloat16"
    return config


def _quantization_config(model: QuantizedModel) -> dict[str, Any]:
    """A group for each format: the one that most linears have by their class, others by their names.

    vLLM's head is of no class that it names, so a pattern stands for it. With several groups transformers 5.23 must
    load as it does by default: its `dequantize=True` takes one group's format for all linears.
    """
    modules: dict[WeightFormat, list[str]] = {}
    for name in model.checkpoint.weight_names():
        if name != "embed":
            modules.setdefault(_format(model, name), []).append(_module(model.checkpoint, name))
    ordered = sorted(modules.items(), key=lambda entry: -len(entry[1]))
    groups = {}
    for number, (form, names) in enumerate(ordered):
        targets = ["Linear"] if number == 0 else [name for name in names if name != _HEAD]
        if _HEAD in names:
            targets.append(f"re:.*{_HEAD}$")
        groups[f"group_{number}"] = {
            "targets": targets,
            "format": "pack-quantized",
            "input_activations": None,
            "output_activations": None,
            "weights": {
                "num_bits": form.bits,
                "type": "int",
                "symmetric": True,
                "strategy": "channel" if form.group_size is None else "group",
                "group_size": form.group_size,
                "dynamic": False,
            },
        }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": [],
    }


def _model_card(model: QuantizedModel, record: Mapping[str, str]) -> str:
    """README.md: https://huggingface.co/docs/hub/model-cards"""
    head = [f"{key}: {json.dumps(record[key])}" for key in ("license", "base_model") if key in record]
    rows = [f"| {key} | {value.replace('|', chr(92) + '|')} |" for key, value in record.items()]
    lines = [
        *("---", "library_name: transformers", "tags: [compressed-tensors, mlp-export]", *head, "---", ""),
        f"# {record.get('base_model', model.checkpoint.path.name)}, {model.scheme.name}",
        "",
        "Symmetric integer codes with bf16 scales, in the pack-quantized form of compressed-tensors: transformers and",
        "vLLM load them, and `mlp-export` exports the same codes. The embedding is stored as bf16(code x scale).",
        *("", "| how it was made | |", "|---|---|", *rows, ""),
    ]
    return "\n".join(lines)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
