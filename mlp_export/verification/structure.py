"""The structure of a program: what the file says of itself."""

from __future__ import annotations

from mlp_export.bundle.bundle import Bundle
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.session import check_sizes
from mlp_export.verification.report import Check


def check_structure(bundle: Bundle, model: QuantizedModel | None, shares_tied_weights: bool) -> Check:
    """What the file itself says against what the manifest, and the model's config, say.

    `shares_tied_weights` is whether the backend stores a tied head and embedding once. Raises InputError where sizes
    differ that all that follows goes by.
    """
    manifest, found = bundle.manifest, inspect_artifact(bundle.pte)
    check_sizes(found, bundle)
    expected = {
        "backend": (manifest.backend.name, found.backend),
        "KV cache bytes": (manifest.kv_cache_bytes, found.kv_cache_bytes),
        "KV scale bytes": (manifest.kv_scale_bytes, found.kv_scale_bytes),
        "BOS id": (manifest.tokenizer.bos_id, found.bos_id),
        "stop ids": (list(manifest.tokenizer.eos_ids), found.eos_ids),
        "delegate calls": (1, sum(found.delegates.values())),
        "tied weights stored once": (manifest.tied_weights_stored_once, found.tied_weights_stored_once),
    }
    for said in {"soc", "compute_unit"} & set(found.compiled_for):
        expected["target"] = (manifest.backend.target, found.compiled_for[said])
    if model is not None:
        value_bytes = {"int8": 1, "fp16": 2, "fp32": 4}[manifest.quantization["kv_cache"]]
        by_formula = model.config.kv_cache_bytes(manifest.context, value_bytes)
        expected["KV cache bytes by the model's shape"] = (by_formula, found.kv_cache_bytes)
        expected["tied"] = (
            model.tied and shares_tied_weights,
            found.tied_weights_stored_once,
        )
        expected["model's stop ids"] = (list(model.config.eos_ids), found.eos_ids)
    wrong = [f"{name} is {there}, expected {said}" for name, (said, there) in expected.items() if said != there]
    wrong += found.compatibility_issues
    right = ", ".join(["context, prefill chunk, vocabulary", *expected]) + " are as the manifest says"
    detail = "; ".join(wrong) or right
    return Check("structure", not wrong, detail, "equal", "what the .pte says of itself with the manifest")
