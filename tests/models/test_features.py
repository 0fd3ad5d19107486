"""The features that families declare are those that their configs have, in the words of ModelConfig."""

from __future__ import annotations

from typing import Any

import pytest
from small_checkpoints import FAMILY_FEATURES, config_json

from mlp_export.models.families import config_from_json, families, list_families
from mlp_export.models.family import Family

SCALING: dict[str, Any] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALING["original_max_position_embeddings"] = 64
# Families whose small configs have no values to draw from.
CHANGES: list[dict[str, Any]] = [
    {"rope_scaling": SCALING},
    {"layer_types": ["sliding_attention"] * 5, "sliding_window": 8},
]


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_declared_features_are_those_of_its_configs(family: Family) -> None:
    """Of the small config, and of it with each value that its class allows for one key."""
    drawn = FAMILY_FEATURES.get(family.name)
    changes: list[dict[str, Any]] = (
        CHANGES if drawn is None else [{key: value} for key, values in drawn.items() for value in values]
    )
    found = set(config_from_json(config_json(family.name)).features)
    for change in changes:
        found |= set(config_from_json(config_json(family.name, **change)).features)
    assert found == set(family.features)


def test_a_plain_llama_has_none() -> None:
    assert config_from_json(config_json("llama")).features == ()
    assert config_from_json(config_json("llama", mlp_bias=True)).features == ("FFN biases",)


def test_every_family_tells_its_models_and_what_it_was_verified_with() -> None:
    listed = {entry["family"]: entry for entry in list_families()}
    assert len(listed) == len(families()) >= 6
    assert all(entry["models"] and entry["verified_with"] for entry in listed.values())
    assert listed["gemma3"]["verified_with"] == "Gemma 3 270M (base)"
    assert listed["smollm3"]["verified_with"] == "random weights only"
