"""action.yml, which actionlint does not check: what GitHub's metadata syntax asks for, and what the steps refer to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
# The part of GitHub's "metadata syntax" for composite actions that an action here may use.
TEXT = {"type": "string", "minLength": 1}
STEP = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^[A-Za-z_][\w-]*$"},
        "name": TEXT,
        "if": TEXT,
        "env": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "uses": {"type": "string", "pattern": r"^[\w.-]+/[\w./-]+@v?\d[\w.]*$"},
        "with": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "run": TEXT,
        "shell": {"const": "bash"},
        "working-directory": TEXT,
        "continue-on-error": {"type": ["boolean", "string"]},
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["uses"], "not": {"required": ["shell"]}}, {"required": ["run", "shell"]}],
}
SCHEMA = {
    "type": "object",
    "required": ["name", "description", "runs"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "description": {"type": "string", "minLength": 1, "maxLength": 125},
        "author": TEXT,
        "inputs": {
            "type": "object",
            "propertyNames": {"pattern": r"^[a-z][a-z0-9-]*$"},
            "additionalProperties": {
                "type": "object",
                "required": ["description"],
                "properties": {
                    "description": TEXT,
                    "required": {"type": "boolean"},
                    "default": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
        "outputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["description", "value"],
                "properties": {"description": TEXT, "value": TEXT},
                "additionalProperties": False,
            },
        },
        "runs": {
            "type": "object",
            "required": ["using", "steps"],
            "properties": {"using": {"const": "composite"}, "steps": {"type": "array", "items": STEP, "minItems": 1}},
            "additionalProperties": False,
        },
    },
}


def action() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "action.yml").read_text())


def problems(document: dict[str, Any]) -> list[str]:
    """What does not fit the schema, and references to inputs, and to outputs of steps, that are not there before."""
    found = [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]
    if found:
        return found
    ids: set[str] = set()
    for step in document["runs"]["steps"]:
        text = yaml.safe_dump(step)
        found += [
            f"unknown input {name}" for name in re.findall(r"inputs\.([\w-]+)", text) if name not in document["inputs"]
        ]
        found += [f"no step {name} before" for name in re.findall(r"steps\.([\w-]+)\.", text) if name not in ids]
        if "run" in step and "${{" in step["run"]:
            found.append("an expression in a script: values belong in env, where a shell does not read them as code")
        ids |= {step["id"]} if "id" in step else set()
    outputs = yaml.safe_dump(document["outputs"])
    return found + [f"no step {name}" for name in re.findall(r"steps\.([\w-]+)\.", outputs) if name not in ids]


def test_the_action_is_one_that_github_takes() -> None:
    assert problems(action()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a: a["runs"]["steps"][1].pop("shell"), "is not valid under any of the given schemas"),
        (lambda a: a["runs"]["steps"][0].update(uses="actions/setup-python"), "does not match"),
        (lambda a: a["inputs"].pop("model"), "unknown input model"),
        (lambda a: a["runs"]["steps"].pop(2), "no step export"),
        (lambda a: a["runs"]["steps"][2].update(run="echo ${{ inputs.model }}"), "an expression in a script"),
        (lambda a: a["inputs"]["model"].update(type="string"), "Additional properties are not allowed"),
    ],
)
def test_what_github_would_refuse_is_found(change: Any, problem: str) -> None:
    document = action()
    change(document)
    assert any(problem in found for found in problems(document)), problems(document)


def test_our_own_workflow_uses_the_action_with_inputs_and_outputs_that_it_has() -> None:
    document, workflow = action(), (ROOT / ".github/workflows/android.yml").read_text()
    steps = [step for job in yaml.safe_load(workflow)["jobs"].values() for step in job["steps"]]
    (use,) = (step for step in steps if step.get("uses") == "./")
    assert set(use["with"]) <= set(document["inputs"])
    outputs = set(re.findall(rf"steps\.{use['id']}\.outputs\.([\w-]+)", workflow))
    assert outputs and outputs <= set(document["outputs"])


def test_actions_are_pinned_to_one_major_version_each() -> None:
    files = [ROOT / "action.yml", *sorted((ROOT / ".github/workflows").glob("*.yml"))]
    used = {match for file in files for match in re.findall(r"uses: ([\w.-]+/[\w./-]+)@(\S+)", file.read_text())}
    assert len(used) == len({name for name, _ in used}), sorted(used)


def test_variables_for_the_ios_tests_are_read_there() -> None:
    """xcodebuild hands TEST_RUNNER_NAME to the tests as NAME; a test of a bundle that is not named is skipped."""
    workflow = (ROOT / ".github/workflows/ios.yml").read_text()
    sources = "".join(file.read_text() for file in (ROOT / "ios_demo").glob("MlpDemo*Tests/*.swift"))
    given = set(re.findall(r"\bTEST_RUNNER_(\w+)", workflow))
    assert given == set(re.findall(r'environment\["(\w+)"\]', sources)) != set()
