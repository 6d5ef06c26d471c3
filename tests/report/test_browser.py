import re
import shlex
import shutil
import subprocess

import pytest
from predicted_sample import add_predictions
from sample import make_run

from deepcollapse.report import write_page

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = shlex.split(
    "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --virtual-time-budget=30000 "
    "--enable-logging=stderr --window-size=1200,3000 --dump-dom"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")
def test_a_real_browser_draws_every_figure_and_complains_of_nothing(tmp_path):
    run = make_run(tmp_path / "run", name="<script>alert(1)</script>", class_names=("</script>", "<b>", "&amp;", "eel"))
    add_predictions(run)
    page = write_page(run, tmp_path / "page.html")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    dom = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    figures = len(re.findall(r'<figure class="plot', dom))
    assert figures == 25
    assert 'data-drawn="25"' in dom
    # Two layers of SVG a figure; the simplex in space has its points in WebGL.
    assert dom.count('class="main-svg"') >= 2 * figures
    assert dom.count("<canvas") >= 1
    assert dom.count('type="range"') == 7
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # The browser's remarks on the speed of WebGL are no complaint about the page.
    complaints = [line for line in console if not re.search(r"GL Driver Message|willReadFrequently", line)]
    assert complaints == []
