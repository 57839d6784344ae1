"""The documents say what the code does: settings, commands, links and addresses."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_and_to_files_resolve(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), f"{link} in {document.name}"
        if anchor:
            assert anchor in anchors(target), f"{link} in {document.name}"


def anchors(document: Path) -> set[str]:
    """Addresses of a document's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_commands_in_documents_exist(document):
    commands = re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(commands) <= make_targets()


def test_readme_names_the_two_commands():
    readme = text_of("README.md")
    assert re.search(r"^make serve$", readme, re.MULTILINE)
    assert re.search(r"^make test$", readme, re.MULTILINE)


def test_make_alone_lists_every_word():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)) == make_targets()


def test_readme_tree_names_every_top_level_package_and_only_what_exists():
    tree = re.search(r"```\w*\n(README\.md .*?)```", text_of("README.md"), re.DOTALL)
    assert tree, "README.md shows the tree in a block that begins with README.md"
    named = set(re.findall(r"^([\w.-]+/?) ", tree[1], re.MULTILINE))
    assert all((ROOT / name).exists() for name in named), named
    packages = {path.parent.name + "/" for path in ROOT.glob("*/__init__.py")}
    assert packages <= named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nuwa_commands_in_documents_exist(document):
    from typer.main import get_command

    from cli.main import app

    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    used = re.findall(r"(?:^|`|\$ )nuwa ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(used) <= commands
