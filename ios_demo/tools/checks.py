"""The checks that need no Swift, and the one of the format, which does."""

from __future__ import annotations

from pathlib import Path

from ios_demo.tools.common import DEMO, CheckError, run
from ios_demo.tools.project import check_project
from ios_demo.tools.resources import check_assets, check_lists, check_sources
from ios_demo.tools.texts import check_texts
from ios_demo.tools.toolchain import Toolchain

CONFIGURATION = ".swift-format"
LINT_SECONDS = 600.0


def check_all(demo: Path = DEMO) -> list[str]:
    """What is wrong with the project, property lists, assets, texts and sources, a sentence each."""
    projects = sorted(demo.glob("*.xcodeproj"))
    problems = [] if len(projects) == 1 else [f"found {len(projects)} Xcode projects in {demo.name}, expected one"]
    problems += [problem for project in projects for problem in check_project(project)]
    return problems + check_lists(demo) + check_assets(demo) + check_sources(demo) + check_texts(demo)


def lint(toolchain: Toolchain, demo: Path = DEMO) -> list[str]:
    """Findings of Swift's formatter, a line each. Raises CheckError where it does not run."""
    options = ["--strict", "--recursive", "--parallel", "--configuration", str(demo / CONFIGURATION)]
    ended = run(toolchain.command(["swift", "format", "lint", *options, "."], demo), timeout=LINT_SECONDS)
    lines = ended.output.splitlines()
    findings = [line for line in lines if ": warning: " in line or ": error: " in line]
    if ended.exit_code and not findings:
        raise CheckError(f"swift format ended with exit code {ended.exit_code}: {ended.output[-2000:].strip()}")
    return findings
