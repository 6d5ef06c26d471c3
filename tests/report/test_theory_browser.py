import re
import subprocess

import pytest
from test_browser import CHROMIUM, FLAGS
from theory_sample import diagram

from deepcollapse.report.theory.page import write_theory_page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")
def test_a_real_browser_draws_the_page_of_theory_and_complains_of_nothing(tmp_path):
    page = write_theory_page(diagram(name="<script>alert(1)</script>"), tmp_path / "page.html")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    dom = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert len(re.findall(r'<figure class="plot', dom)) == 7
    assert 'data-drawn="7"' in dom
    assert dom.count('class="main-svg"') >= 14
    assert dom.count("<select") == 2
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
