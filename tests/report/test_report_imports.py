import ast
import subprocess
import sys
from pathlib import Path

import deepcollapse.report

ALLOWED = {"deepcollapse.records", "deepcollapse.errors", "deepcollapse.report", "plotly", "numpy", "pandas"}


def imported_by(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_report_draws_and_never_computes():
    files = sorted(Path(deepcollapse.report.__path__[0]).rglob("*.py"))
    found = {name for file in files for name in imported_by(file)}
    own = {".".join(name.split(".")[: 2 if name.startswith("deepcollapse") else 1]) for name in found}
    assert own - set(sys.stdlib_module_names) <= ALLOWED


def test_importing_report_takes_no_time():
    code = "import sys, deepcollapse.report; print(sorted({'torch', 'pandas', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_public_name_is_there():
    from deepcollapse import report

    pages = ["write_page", "write_study_page", "write_sweep_page"]
    assert report.__all__ == [
        "Sentence",
        "SummaryRow",
        "is_study",
        "is_sweep",
        "reading",
        "summary_rows",
        "svg",
        *pages,
    ]
    assert all(callable(getattr(report, name)) for name in report.__all__)
