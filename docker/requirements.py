"""Prints what an image installs: the core dependencies of pyproject.toml and those of the extras named as words."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in (*project["dependencies"], *(r for e in sys.argv[1:] for r in project["optional-dependencies"][e])):
    print(requirement)
