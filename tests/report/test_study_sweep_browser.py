import json
import re
import statistics
import subprocess

import pytest
from page_tree import tree
from study_sample import study
from sweep_sample import make_sweep, numbers
from test_browser import CHROMIUM, FLAGS

from deepcollapse.report.study import page as study_page
from deepcollapse.report.sweep import write_sweep_page

EVIL = "<img src=x onerror=alert(1)>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")


def opened(page, profile):
    """The page as a browser leaves it, as a tree without scripts; asserts that it complains of nothing."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert complaints == []
    body = done.stdout[done.stdout.index("<html") :]
    bare = re.sub(r"<(script|svg|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    return done.stdout, bare


def choose(page, **choices):
    """The same page with lists set as a reader would, one after the other; its policy would forbid the script."""
    steps = "".join(
        f"{{const list = document.querySelector({json.dumps(selector)}); list.value = {json.dumps(str(value))};"
        "list.dispatchEvent(new Event('change'));}"
        for selector, value in choices.values()
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    changed = page.with_name("chosen.html")
    changed.write_text(text.replace("</body>", f"<script>{steps}</script></body>"), encoding="utf-8")
    return changed


def told(bare):
    [text] = re.findall(r'<p class="note told"[^>]*>(.*?)</p>', bare)
    return text


def test_a_study_is_drawn_whole(tmp_path):
    page = tmp_path / "study.html"
    page.write_text(study_page(study()), encoding="utf-8")
    whole, _ = opened(page, tmp_path / "profile")
    figures = len(tree(re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)).all("figure.plot"))
    assert figures == 8
    assert f'data-drawn="{figures}"' in whole
    assert whole.count('class="main-svg"') >= 2 * figures


def test_a_sweep_is_drawn_as_its_lists_ask(tmp_path):
    recipes = make_sweep(
        tmp_path / "s", failed=(0, 1), decay=(0.0, 1e-3, 0.1), width=[16, 64], dataset=["digits", EVIL], seed=range(2)
    )
    page = write_sweep_page(tmp_path / "s", tmp_path / "page.html")
    whole, bare = opened(page, tmp_path / "profile")
    assert 'data-drawn="2 3 1"' in whole  # NC1 over decay and width
    assert told(bare).startswith("NC1: within-class variability over decay and width from ")
    assert told(bare).endswith(
        "(22 runs). ✗: runs failed. How far samples of one class scatter about their class mean, against how far the "
        "class means lie apart; 0 when every class has become a single point."
    )
    assert EVIL not in whole  # as text it is escaped, and plotly was given it as text

    chosen = choose(
        page,
        measure=("select[name=measure]", 0),
        swapped=("select[name=x]", 1),
        held=('select[name=hold][data-setting="0"]', 1),
    )
    whole, bare = opened(chosen, tmp_path / "profile")
    # Choosing the width across gave decay the other place.
    assert 'data-drawn="0 1 3"' in whole
    cells = [[r for r in recipes.values() if (r.width, r.decay) == (w, d)] for w in (16, 64) for d in (0.0, 1e-3, 0.1)]
    medians = [
        statistics.median(
            value
            for recipe in cell
            if recipe.dataset == EVIL
            for measure, _, split, value in numbers(recipe)
            if (measure, split) == ("accuracy", "test")
        )
        for cell in cells
    ]
    low, high = (f"{100 * end(medians):.4g} %" for end in (min, max))
    assert told(bare).startswith(f"accuracy (test) over width and decay from {low} to {high} (12 runs).")

    alone = choose(page, y=("select[name=y]", -1))
    whole, bare = opened(alone, tmp_path / "profile")
    assert 'data-drawn="2 3 -1"' in whole
    assert re.search(r'<figure class="heat" hidden="">', bare)
    assert told(bare).startswith("NC1: within-class variability over decay from ")
