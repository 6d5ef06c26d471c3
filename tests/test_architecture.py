"""The house holds its shape: imports point one way, names and help need no torch, files stay small and say no place."""

import ast
import re
import subprocess
import sys
import tokenize
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "deepcollapse"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of ours, beside itself; docs/architecture.md says why.
MAY_IMPORT = {
    "errors": set(),
    "linalg": set(),
    "records": {"errors"},
    "geometry": {"errors", "linalg"},
    "networks": {"errors"},
    "datasets": {"errors"},
    "measurement": {"errors", "linalg", "records", "geometry", "networks"},
    "theory": {"errors", "linalg", "records", "geometry", "measurement"},
    "training": {"errors", "linalg", "records", "geometry", "networks", "datasets", "measurement", "theory"},
    "compression": {"errors", "linalg", "records", "geometry", "networks", "measurement", "theory", "training"},
    "sweeps": {"errors", "linalg", "records", "networks", "datasets", "measurement", "training"},
    "studies": {
        "errors",
        "linalg",
        "records",
        "geometry",
        "networks",
        "datasets",
        "measurement",
        "theory",
        "training",
        "compression",
        "sweeps",
    },
    "integrations": {"errors", "records", "geometry", "networks", "measurement"},
    "report": {"errors", "records"},
    "cli": {
        "errors",
        "linalg",
        "records",
        "geometry",
        "networks",
        "datasets",
        "measurement",
        "theory",
        "training",
        "compression",
        "sweeps",
        "studies",
        "report",
    },
    "__main__": {"cli"},
    "": {"geometry", "measurement", "records"},  # deepcollapse/__init__.py hands on what they export
}
# Names, facts and help answer at once: none of these may wait for what takes seconds to import.
LIGHT = ("deepcollapse", "deepcollapse.records", "deepcollapse.datasets", "deepcollapse.networks",
         "deepcollapse.training.recipe", "deepcollapse.report", "deepcollapse.cli")  # fmt: skip
HEAVY = ("torch", "pandas", "plotly", "numpy", "scipy", "sklearn")
MOST_LINES = 300


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def part_of(module: str) -> str:
    """'geometry' for deepcollapse.geometry.rank, '' for deepcollapse itself."""
    return module.split(".")[1] if "." in module else ""


@cache
def imports(module: str, *, at_import: bool = False) -> frozenset[str]:
    """The modules of ours that a module names; `at_import` leaves out those that functions and type checkers import."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = list(_run_at_import(tree)) if at_import else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; write deepcollapse.{node.module} in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == "deepcollapse"}
    return frozenset(name if name in MODULES else name.rpartition(".")[0] for name in ours)


def _run_at_import(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not typing_only:
            yield child
            yield from _run_at_import(child)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    part = part_of(module)
    assert part in MAY_IMPORT, f"{part!r} is a new part: say what it may import here and in docs/architecture.md"
    assert {part_of(name) for name in imports(module)} - {part} <= MAY_IMPORT[part]


def test_no_module_imports_itself_in_the_end():
    done, path = set(), []

    def follow(module: str) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for name in sorted(imports(module, at_import=True) - {module}):
                follow(name)
            done.add(path.pop())

    for module in MODULES:
        follow(module)


def test_names_facts_and_help_wait_for_nothing_heavy():
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def lines_of_code(file: Path) -> int:
    """Lines that hold code: docstrings, comments and blank lines are for the reader and may be as many as help."""
    text = file.read_text(encoding="utf-8")
    quoted = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = (t for t in tokenize.generate_tokens(StringIO(text).readline) if t.type not in layout)
    return len({line for t in tokens for line in range(t.start[0], t.end[0] + 1)} - quoted)


def committed() -> list[Path]:
    """What a clone would hold, or all that is there where git cannot tell."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return [file for folder in ("src", "tests", "docs", "benchmarks") for file in (ROOT / folder).rglob("*.*")]
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_files_stay_small():
    sizes = {file.name: lines_of_code(file) for file in [*FILES, *(ROOT / "tests").rglob("*.py"), ROOT / "dev.py"]}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w./<:}-])/(?:home|Users|root|work|mnt|media|srv)/\w|\b[A-Z]:\\Users\b")
    found = {}
    for file in committed():
        if file.suffix not in {".png", ".gz", ".woff2", ".safetensors"} and file != Path(__file__):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if places := [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if place.search(line)]:
                found[file.relative_to(ROOT).as_posix()] = places
    assert found == {}


def test_the_order_of_imports_is_the_one_in_the_docs():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` +\| (.*?) +\|", text, re.MULTILINE)
    written = {part: set(re.findall(r"`(\w+)`", allowed)) for part, allowed in rows}
    assert written == {part: allowed for part, allowed in MAY_IMPORT.items() if part and part != "__main__"}
