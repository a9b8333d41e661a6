"""The promises of the project as a whole: its version, a light import, short files, a README that runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

import rdl

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "duckdb", "pandas", "pyarrow", "numpy", "sqlglot", "sqlalchemy", "matplotlib")
MOST_LINES = 400

# What a README says of getting the project and its tools: read by people, carried out by nobody's test.
SET_UP = re.compile(r"\s*(git clone|cd|pip install|python3? -m (pip|venv)|source|\.)\s")
NOT_RUN = "<!-- not run:"


def test_version_is_that_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert rdl.__version__ == project["version"]


def test_changelog_begins_with_what_is_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    assert headings[0] == "Unreleased"


@pytest.mark.parametrize("used", ["rdl", "rdl.__version__", "rdl.Schema", "rdl.RdlError"])
def test_import_is_light(used: str) -> None:
    heavy = HEAVY if used == "rdl" else ("torch", "duckdb", "pandas")
    program = f"import sys, rdl; {used}; print(*sorted(set(sys.modules) & {set(heavy)}))"
    assert _python(program).split() == []


def test_every_public_name_can_be_had() -> None:
    missing = _python("import rdl; print(*[name for name in rdl.__all__ if not hasattr(rdl, name)])")
    assert missing.split() == []
    assert set(rdl.__all__) <= set(dir(rdl))


def test_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'rdl' has no attribute 'conect'"):
        _ = rdl.conect


def test_no_file_is_long() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "rdl").rglob("*.py")}
    assert lines
    too_long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES}
    assert too_long == {}


def test_constraints_pin_what_the_project_needs_and_no_build() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
    assert not [version for version in pins.values() if "+" in version]
    pinned = {_normalised(name) for name in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {_normalised(re.split(r"[\[<>=! ]", requirement)[0]) for requirement in asked}
    assert names - pinned == {"rdl"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown text: what it holds, the line it begins on, whether it is to be run."""

    language: str
    line: int
    code: str
    runs: bool


def test_blocks_are_read_with_their_lines() -> None:
    text = f"# A\n```bash\nls\n```\n\n{NOT_RUN} needs a server -->\n```python\nx = 1\n\nx\n```\n```\nplain\n```\n"
    assert _blocks(text) == [Block("bash", 3, "ls", runs=True), Block("python", 8, "x = 1\n\nx", runs=False)]


def test_failing_blocks_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="line 3"):
        _run_bash(Block("bash", 3, "false\ntrue", runs=True), tmp_path)
    with pytest.raises(AssertionError, match="line 5"):
        _run_bash(Block("bash", 5, "make nothing-like-this", runs=True), tmp_path)


def test_readme_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ```bash and ```python block of the README runs, in order, in one folder; the Python ones share names."""
    blocks = _blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {block.language for block in blocks if block.runs} == {"bash", "python"}
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if not block.runs:
            continue
        if block.language == "bash":
            _run_bash(block, tmp_path)
        else:
            exec(compile("\n" * (block.line - 1) + block.code, "README.md", "exec"), names)


def _blocks(text: str) -> list[Block]:
    """The ```bash and ```python blocks of ``text``; one that follows a comment ``not run: why`` is not to be run."""
    blocks = []
    for found in re.finditer(r"^```(bash|python)\n(.*?)\n```$", text, flags=re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 2
        before = text[: found.start()].rstrip().rpartition("\n")[2]
        blocks.append(Block(found[1], line, found[2], runs=not before.startswith(NOT_RUN)))
    return blocks


def _run_bash(block: Block, folder: Path) -> None:
    """Run a block in ``folder``. ``make`` says only what it would do, in the project; setting up is left out."""
    dry_make = f'make() {{ command make --dry-run --directory {shlex.quote(str(ROOT))} "$@" >/dev/null; }}'
    lines = ["" if SET_UP.match(line) else line for line in block.code.splitlines()]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([dry_make, *lines])],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"README.md line {block.line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


def _python(program: str) -> str:
    """What ``program`` prints in a new interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
