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


def test_the_ios_workflow_sets_the_variables_that_the_apps_test_reads() -> None:
    """One that the test does not know would leave it skipped, or asking something else."""
    workflow = (ROOT / ".github/workflows/ios.yml").read_text()
    test = (ROOT / "ios_demo/MlpDemoTests/RealBundleTests.swift").read_text()
    read = set(re.findall(r'environment\["(\w+)"\]', test))
    assert read == {"MLP_BUNDLE", "MLP_PROMPT", "MLP_ANSWER"}
    assert set(re.findall(r"\bTEST_RUNNER_(\w+)(?:=|:)", workflow)) == read
    tokens = re.search(r"GenerationSettings\(maxNewTokens: (\d+)\)", test)
    assert tokens and f"--max-new-tokens {tokens[1]}" in workflow


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


def workflow_paths(text: str) -> list[list[str]]:
    """The `paths` of each event of a workflow. YAML 1.1 reads the key `on` as true."""
    events = yaml.safe_load(text)[True]
    return [event["paths"] for event in events.values() if event and "paths" in event]


@pytest.mark.parametrize("name", ["android", "coreml", "ios"])
def test_a_workflow_that_looks_at_the_package_looks_at_the_backends(name: str) -> None:
    """They are linked into the package: a change of theirs is none of `mlp_export/**`."""
    paths = workflow_paths((ROOT / f".github/workflows/{name}.yml").read_text())
    assert len(paths) == 2 and paths[0] == paths[1]
    assert {"backends/**", "mlp_export/**"} <= set(paths[0])
    for pattern in paths[0]:
        assert list(ROOT.glob(pattern.removesuffix("/**"))), f"no file fits {pattern}"


# Issue forms: the part of GitHub's syntax for them that ours use.
FORM = {
    "type": "object",
    "required": ["name", "description", "body"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "labels": {"type": "array", "items": TEXT},
        "body": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "attributes"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["checkboxes", "dropdown", "input", "markdown", "textarea"]},
                    "id": {"type": "string", "pattern": r"^[\w-]+$"},
                    "attributes": {"type": "object", "anyOf": [{"required": ["label"]}, {"required": ["value"]}]},
                    "validations": {"type": "object", "properties": {"required": {"type": "boolean"}}},
                },
            },
        },
    },
}


@pytest.mark.parametrize("form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*_*.yml")), ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_takes(form: Path) -> None:
    document = yaml.safe_load(form.read_text())
    jsonschema.validate(document, FORM)
    ids = [field["id"] for field in document["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for file in re.findall(r"blob/HEAD/([^)\s]+)", form.read_text()):
        assert (ROOT / file).is_file(), f"{form.name} links to {file}"
