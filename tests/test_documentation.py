"""README and the pages of ``vae-batch help``: links, blocks and sizes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.commands.help import Topic

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "vae_batch/docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    ROOT / "jobs/README.md",
    ROOT / "jobs/benchmarks/README.md",
]
PLUG_INS = {
    "architecture": ROOT / "tests/plugins/vae_batch_typicality.py",
    "checkpoints": ROOT / "tests/plugins/vae_batch_pca.py",
}


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 10_000


def test_every_page_is_a_topic_and_linked_from_readme() -> None:
    assert {page.stem for page in DOCS.glob("*.md")} == set(Topic)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [topic for topic in Topic if f"(vae_batch/docs/{topic}.md)" not in readme] == []


@pytest.mark.parametrize("topic", list(Topic))
def test_help_prints_the_page(topic: Topic) -> None:
    done = CliRunner().invoke(app, ["help", topic])
    assert done.stdout == (DOCS / f"{topic}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(anchor_of, headings), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths of this project in backticks; those of a room are relative to it or the package."""
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", page.read_text(encoding="utf-8"))
    ours = {"jobs", "tests", "vae_batch", *(p.name for p in (ROOT / "vae_batch").iterdir())}
    for name in named:
        if name.split("/")[0] in ours and page.stem not in ("changelog", "storage", "nightly"):
            places = (ROOT, ROOT / "vae_batch", page.parent)
            assert any((place / name).exists() for place in places), name


def commands_of(page: Path) -> list[list[str]]:
    """Command lines of `vae-batch`, in blocks and in sentences, as words."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    lines += [" ".join(found.split()) for found in re.findall(r"`(vae-batch [^`]+)`", text)]
    found = [re.sub(r"\s#.*", "", line).removeprefix(".venv/bin/") for line in lines]
    return [shlex.split(line)[1:] for line in found if line.startswith("vae-batch ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_flags_exist(page: Path) -> None:
    whole: Any = typer.main.get_command(app)
    for words in commands_of(page):
        names = [word.partition("=")[0] for word in words if word.startswith("--")]
        command = whole
        for word in words:
            below = getattr(command, "commands", {})
            if word not in below:
                assert command is not whole or word[0] in "-." or word == "TOPIC", words
                break
            command = below[word]
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        assert [name for name in names if name not in known | {"--help"}] == [], words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("topic", PLUG_INS)
def test_plug_ins_are_the_tested_ones(topic: str) -> None:
    assert blocks(DOCS / f"{topic}.md", "python") == [PLUG_INS[topic].read_text(encoding="utf-8")]
