import re

import pytest

from deepcollapse.errors import RunError
from deepcollapse.records.files import atomic_write


def test_a_path_below_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    path = tmp_path / "notes.txt" / "page.html"
    message = (
        f"could not write {path} (4 bytes): File exists; nothing was left behind. Choose another folder with --out."
    )
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        atomic_write(path, b"page")
    assert (tmp_path / "notes.txt").read_text() == "mine"
