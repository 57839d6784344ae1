"""The documents say what the code does: settings, commands, links and addresses."""

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from jobs.events import JobEvent
from jobs.settings import ALL_SETTINGS, variable

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


def documented_settings() -> dict[str, str]:
    """Variable -> default, from the tables of docs/operations.md."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", text_of("docs/operations.md"), re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"[A-Z_]+", names)}


@pytest.mark.parametrize("kind", ALL_SETTINGS, ids=lambda kind: kind.__name__)
def test_every_setting_is_documented_with_its_default(kind):
    documented = documented_settings()
    for name, field in kind.model_fields.items():
        assert variable(name) in documented, variable(name)
        default = field.get_default()
        if field.default_factory is None:  # else it depends on the machine, and the document says how
            assert documented[variable(name)] == as_documented(default), variable(name)


def as_documented(default: object) -> str:
    match default:
        case None:
            return "none"
        case float():
            return f"{default:.0f}"
        case Path():
            return str(default.relative_to(ROOT))
        case _:
            return str(default)


def test_no_document_names_a_setting_that_does_not_exist():
    known = {variable(name) for kind in ALL_SETTINGS for name in kind.model_fields}
    for document in DOCUMENTS:
        assert set(re.findall(r"\bNUWA_[A-Z_]+", document.read_text(encoding="utf-8"))) <= known, document.name


def test_every_route_is_documented():
    from jobs.broker.memory import MemoryBroker
    from jobs.settings import GatewaySettings
    from jobs.store import FolderStore
    from server.app import create_app

    paths = create_app(GatewaySettings(), MemoryBroker(), FolderStore(ROOT / "nowhere")).openapi()["paths"]
    documented = (
        text_of("docs/api.md").replace("/jobs/{id}", "/jobs/{job_id}").replace("/groups/{id}", "/groups/{group_id}")
    )
    for path, methods in paths.items():
        for method in methods:
            assert f"{method.upper()} {path}`" in documented or f"`{path}`" in documented, (method, path)


def test_every_event_is_documented():
    kinds = [event.model_fields["kind"].default for event in get_args(get_args(JobEvent)[0])]
    assert set(re.findall(r"^\| `([a-z.]+)` \|", text_of("docs/api.md"), re.MULTILINE)) >= set(kinds)
