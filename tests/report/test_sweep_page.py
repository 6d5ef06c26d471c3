import json
import re
import shutil
import statistics
import sys

import pytest
from page_tree import tree
from sweep_sample import BASE, LAST, make_sweep, numbers

from deepcollapse.errors import RunError
from deepcollapse.records.final import HIDDEN
from deepcollapse.report.sweep import is_sweep, page, write_sweep_page
from deepcollapse.report.sweep_runs import read_sweep
from deepcollapse.report.sweep_table import relative
from deepcollapse.sweeps import key_of
from deepcollapse.sweeps.locks import lock
from deepcollapse.sweeps.status import status

EVIL = "<script>alert(1)</script>"
DECAYS, RATES = (0.0, 1e-3, 1e-2), (0.01, 0.1)


def own(folder, **how):
    """The page less its first script, which is plotly's own."""
    text = page(read_sweep(folder, **how), folder)
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def data(seen):
    """What the browser is given to draw from."""
    return json.loads(seen.one("section.explorer").one("script").text)


def options(seen, name):
    """The lists of a name: each its options, the chosen one first."""
    lists = [found for found in seen.all("select") if found.attributes["name"] == name]
    return [
        [option.text for option in sorted(one.all("option"), key=lambda o: "selected" not in o.attributes)]
        for one in lists
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Decay by rate by two seeds; one run failed, one was stopped, one waits."""
    place = tmp_path_factory.mktemp("sweeps") / "grid"
    make_sweep(place, failed=(1,), stopped=(2,), waiting=(11,), decay=DECAYS, rate=RATES, seed=range(2))
    return place


@pytest.fixture(scope="module")
def seen(folder):
    return tree(own(folder))


def test_the_top_says_what_varies_and_how_the_runs_stand(seen):
    assert seen.one("h1").text == "Sweep grid"
    assert seen.one("p.lead").text == "12 runs. They differ in seed (2 values), rate (2 values), decay (3 values)."
    tiles = [(tile.one("b").text, tile.one(".badge").text) for tile in seen.all("li.tile")]
    assert tiles == [("9", "✓ done"), ("0", "▸ running"), ("1", "✗ failed"), ("1", "… stopped"), ("1", "○ waiting")]
    assert seen.texts("h2") == ["What the settings do", "Every combination", "Runs that failed", "Settings"]


def test_the_headline_names_the_best_combinations(seen):
    # Accuracy peaks where decay is 0.001, and variability falls with decay and with the rate.
    assert seen.one("p.verdict").text == (
        "Highest accuracy (test): 90.2 % at rate 0.01, decay 0.001, and at 1 other, median of 2 runs. "
        "Lowest NC1: within-class variability: 0.00199 at rate 0.1, decay 0.01."
    )


def test_readers_choose_a_measure_two_settings_and_what_the_others_are_held_at(seen):
    [measures] = options(seen, "measure")
    assert measures == [
        "NC1: within-class variability",
        "accuracy (test)",
        "accuracy (train)",
        "NC2: unequal lengths, class means",
        "NC3: self-duality",
        "rank at 1 %, weights, mean over hidden layers",
        "effective rank, features",
        "TCV: relative cluster variation, mean over hidden layers",
        "loss (train)",
        "onset of the terminal phase",
    ]
    assert options(seen, "x") == [["decay", "rate"]]
    assert options(seen, "y") == [["rate", "decay", "nothing else"]]
    assert options(seen, "hold") == [
        ["all seeds", "0", "1"],
        ["all values", "0.01", "0.1"],
        ["all values", "0", "0.001", "0.01"],
    ]


def test_the_browser_is_given_each_run_with_its_numbers_at_the_end(folder, seen):
    given = data(seen)
    assert given["states"] == ["done", "running", "failed", "stopped", "waiting"]
    assert [(s["name"], s["values"], s["numbers"]) for s in given["settings"]] == [
        ("seed", ["0", "1"], [0, 1]),
        ("rate", ["0.01", "0.1"], [0.01, 0.1]),
        ("decay", ["0", "0.001", "0.01"], [0, 0.001, 0.01]),
    ]
    titles = [measure["title"] for measure in given["measures"]]
    runs = {tuple(places): (state, values) for state, places, values in given["runs"]}
    assert len(runs) == 12
    assert [state for state, _ in runs.values()].count(0) == 9
    # Decay comes first in the grid and seeds last: the second recipe failed, the third was stopped.
    assert runs[1, 0, 0] == (2, [])
    assert runs[0, 1, 0] == (3, [])
    assert runs[1, 1, 2] == (4, [])
    state, values = runs[0, 0, 1]
    assert state == 0
    [recipe] = [r for r in make_recipes() if (r.seed, r.rate, r.decay) == (0, 0.01, 1e-3)]
    known = {(measure, layer): value for measure, layer, split, value in numbers(recipe) if split != "train"}
    known |= {(measure, layer): value for measure, layer, split, value in numbers(recipe) if split == "train"}
    told = dict(zip(titles, values, strict=True))
    assert told["NC1: within-class variability"] == pytest.approx(
        known["within_class_variability", "head.input"], rel=1e-4
    )
    ranks = [value for (measure, _), value in known.items() if measure == "rank_at_one_percent_weight"]
    assert told["rank at 1 %, weights, mean over hidden layers"] == pytest.approx(sum(ranks) / 2, rel=1e-4)
    assert told["onset of the terminal phase"] == LAST - 1


def make_recipes():
    from deepcollapse.sweeps import Sweep

    return Sweep.grid(BASE, decay=DECAYS, rate=RATES, seed=range(2)).recipes


def test_the_table_has_medians_ranges_and_the_runs_of_every_combination(folder, seen):
    rows = seen.one("table.sweep").all("tr")
    head = ["rate", "decay", "test accuracy", "train accuracy", "NC1", "NC3", "rank of weights", "effective rank"]
    assert rows[0].texts("th") == [*head, "hidden TCV", "TPT onset", "runs"]
    assert [row.texts("td")[:2] for row in rows[1:]] == [[str(r), f"{d:g}"] for r in RATES for d in DECAYS]
    recipes = make_recipes()
    pair = [recipe for recipe in recipes if (recipe.rate, recipe.decay) == (0.01, 1e-3)]
    accuracies = [value for r in pair for m, _, split, value in numbers(r) if (m, split) == ("accuracy", "test")]
    low, high = (f"{100 * value:.4g}" for value in accuracies)
    cells = rows[2].all("td")
    assert cells[2].text == f"{100 * statistics.median(accuracies):.4g} % {low} to {high}"
    links = cells[-1].all("a")
    assert [(link.text, link.attributes["href"]) for link in links] == [
        (str(r.seed), f"runs/{key_of(r)}/") for r in pair
    ]
    # One of two runs failed: its sign stands with the seed, and the other's number is told.
    assert rows[1].texts("td")[2] == "82 %"
    assert rows[1].all("td")[-1].text == "0 1✗"
    assert rows[4].all("td")[-1].text == "0… 1"
    assert rows[6].all("td")[-1].text == "0 1○"
    assert [span.text for span in rows[6].all("td")[-1].all("span")] == ["1○"]  # nothing is there to lead to


def test_where_all_runs_of_a_combination_failed_the_cells_say_so(tmp_path):
    make_sweep(tmp_path / "s", failed=(0, 1), waiting=(2, 3), decay=(0.0, 0.1, 1.0), seed=range(2))
    rows = tree(own(tmp_path / "s")).one("table.sweep").all("tr")[1:]
    assert [row.texts("td")[1] for row in rows] == ["✗", "–", "72.2 % 72 to 72.4"]


def test_failures_are_told_with_their_traceback_as_text(seen):
    [failed] = seen.all("details.failed")
    assert failed.one("summary").text == "✗seed 1, rate 0.01, decay 0: NonFiniteError: run 1 met <b>NaN</b>."
    assert failed.one("pre").text.startswith("Traceback (most recent call last):")


def test_of_a_long_error_the_first_line_is_told(tmp_path):
    make_sweep(tmp_path / "s", failed=(0,), decay=(0.0, 1e-3))
    [kept] = (tmp_path / "s" / "failures").iterdir()
    error = "RuntimeError: out of memory\nCompile with TORCH_USE_CUDA_DSA for more.\n\nSee the manual.\n"
    kept.write_text('Traceback (most recent call last):\n  File "loop.py"\n' + error, encoding="utf-8")
    [failed] = tree(own(tmp_path / "s")).all("details.failed")
    assert failed.one("summary").text == "✗decay 0: RuntimeError: out of memory"


@pytest.mark.parametrize("keys", [True, False])
def test_runs_are_those_that_the_plan_names(tmp_path, keys):
    make_sweep(tmp_path / "s", failed=(0,), waiting=(1,), decay=(0.0, 0.1, 1.0))
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text(encoding="utf-8"))
    if keys:  # which the recipe alone would not tell: defaults that are left out are filled in where it is run
        for recipe in plan["recipes"]:
            del recipe["channels_last"]
    else:  # as it was written of old
        del plan["keys"]
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(plan), encoding="utf-8")
    seen = read_sweep(tmp_path / "s")
    assert [run.state for run in seen.runs] == ["failed", "waiting", "done"]
    assert [run.key for run in seen.runs] == [run.key for run in status(tmp_path / "s").runs]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks on Windows")
def test_while_a_sweep_goes_on_the_page_shows_what_runs(tmp_path):
    make_sweep(tmp_path / "s", failed=(0,), stopped=(1, 2), waiting=(3,), decay=(0.0, 0.1, 1.0, 10.0))
    first, second, *_ = [run.key for run in read_sweep(tmp_path / "s").runs]
    with lock(tmp_path / "s" / "locks" / first), lock(tmp_path / "s" / "locks" / second):
        seen = tree(own(tmp_path / "s"))
        assert [run.state for run in status(tmp_path / "s").runs] == ["running", "running", "stopped", "waiting"]
    assert [tile.one("b").text for tile in seen.all("li.tile")] == ["0", "2", "0", "1", "1"]
    rows = seen.one("table.sweep").all("tr")[1:]
    assert [row.texts("td")[-1] for row in rows] == ["0▸", "0▸", "0…", "0○"]


def test_one_setting_gives_lines_and_no_choice_of_axes(tmp_path):
    make_sweep(tmp_path / "s", decay=(0.0, 1e-3), seed=range(2))
    seen = tree(own(tmp_path / "s"))
    assert [figure.attributes["class"] for figure in seen.all("figure")] == ["lines"]
    assert options(seen, "x") == options(seen, "y") == []
    assert options(seen, "hold") == [["all seeds", "0", "1"], ["all values", "0", "0.001"]]


def test_settings_that_are_words_or_not_given_come_as_they_are(tmp_path):
    make_sweep(tmp_path / "s", optimiser=["sgd", "adam"], width=[None, 8], drops=[(0.5,), ()])
    seen = tree(own(tmp_path / "s"))
    settings = {s["name"]: (s["values"], s["numbers"]) for s in data(seen)["settings"]}
    assert settings == {
        "optimiser": (["sgd", "adam"], None),
        "width": (["not given", "8"], None),
        "drops": (["0.5", "none"], None),
    }


def test_a_single_recipe_is_a_page_without_choices(tmp_path):
    make_sweep(tmp_path / "s", decay=[0.1])
    seen = tree(own(tmp_path / "s"))
    assert seen.texts("h2") == ["Every combination", "Settings"]
    assert seen.one("p.lead").text == "1 run."
    told = "1 run is done, of one combination of settings: it takes two to compare."
    assert seen.one("p.verdict").text == told


def test_seeds_alone_are_nothing_to_compare(tmp_path):
    make_sweep(tmp_path / "s", failed=[2], seed=range(3))
    told = "2 runs are done, of one combination of settings: it takes two to compare."
    assert tree(own(tmp_path / "s")).one("p.verdict").text == told


def test_before_any_run_is_done_the_page_says_so(tmp_path):
    make_sweep(tmp_path / "s", waiting=range(4), decay=(0.0, 0.1), seed=range(2))
    seen = tree(own(tmp_path / "s"))
    assert seen.one("p.verdict").text == "No run is done yet: there is nothing to compare."
    assert seen.texts("h2") == ["Every combination", "Settings"]


def test_measures_can_be_asked_for_by_name(folder):
    sweep = read_sweep(folder, ["loss", "rank_at_one_percent_weight"])
    assert [measure.key for measure in sweep.measures] == [
        ("loss", "network", "train"),
        ("rank_at_one_percent_weight", HIDDEN, None),
    ]
    with pytest.raises(RunError) as caught:
        read_sweep(folder, ["beauty"])
    assert str(caught.value) == (
        f"beauty was measured in no run of {folder}. Measured were accuracy, effective_rank_features, equinorm_means, "
        "loss, rank_at_one_percent_weight, relative_cluster_variation, self_duality, tpt_onset, "
        "within_class_variability."
    )


def test_every_name_is_text_and_never_markup(tmp_path):
    folder = tmp_path / "<b>sweep"
    make_sweep(
        folder, failed=(0,), base=BASE, decay=(0.0, 0.1), dataset=["digits", EVIL], parameters=[(), (f"a={EVIL}",)]
    )
    text = own(folder)
    assert "alert(1)" in text
    assert EVIL not in text
    assert "<b>sweep" not in text
    assert "<b>NaN" not in text
    tree(text)


def test_only_links_to_runs_lead_anywhere_and_nothing_is_loaded(folder):
    text = own(folder)
    assert not re.findall(r"""(?:src|href|action|url)\s*[=(](?!"#part-\d+"|"runs/[0-9a-f]{12}/")""", text)
    assert not re.findall(r"https?://", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[^']+' 'sha256-[^']+' 'sha256-[^']+'; style-src 'unsafe-inline'; "
        r"img-src data: blob:; base-uri 'none'",
        policy[1],
    )


def test_links_are_relative_to_the_page_and_quoted(tmp_path):
    assert relative(tmp_path / "a sweep" / "runs" / "x", tmp_path / "pages") == "../a%20sweep/runs/x/"


@pytest.mark.parametrize("kind", ["gone", "empty", "torn", "garbled at the end", "garbled inside", "a row that is cut"])
def test_a_done_run_without_whole_records_is_told_with_the_failures(tmp_path, kind):
    records, reason = broken_records(tmp_path, kind)
    seen = tree(own(tmp_path / "s"))
    assert seen.one("details.failed").one("summary").text == (
        f"✗decay 0: RunError: {records} {reason}. Put it back, or move {records.parent} away and run the sweep again, "
        "which trains it anew."
    )
    assert [tile.one("b").text for tile in seen.all("li.tile")] == ["1", "0", "1", "0", "0"]


def broken_records(folder, kind):
    """The records of the first of two runs that are done, and what is to be said of them."""
    recipes = make_sweep(folder / "s", decay=(0.0, 0.1))
    records = folder / "s" / "runs" / next(iter(recipes)) / "records.jsonl"
    text = records.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    no_record = "is damaged (a line is no record: it lacks what records have)"
    content, reason = {
        "gone": ("", "cannot be read (No such file or directory)"),
        "empty": ("", "is damaged (it is empty)"),
        "torn": (text[:-20], "is damaged (its last line is torn)"),
        "garbled at the end": (text + "{}\n", no_record),
        "garbled inside": (lines[0] + "\x00\x01\n" + "".join(lines[1:]), "is damaged (line 2 is no record)"),
        "a row that is cut": (lines[0] + f'{{"epoch": {LAST}, "array": null, "baseline": null}}\n' + text, no_record),
    }[kind]
    records.write_text(content, encoding="utf-8")
    if kind == "gone":
        records.unlink()
    return records, reason


def test_folders_that_are_no_sweep(tmp_path):
    plan = tmp_path / "sweep.json"
    anew = "Take that file away and run the sweep again, which writes it anew; runs stay as they are."
    damaged = {
        "": f"{plan} is damaged (Expecting value: line 1 column 1 (char 0)). {anew}",
        "[]": f"{plan} is damaged (it holds no JSON object). {anew}",
        '{"schema_version": 1}': f"{plan} is damaged (it lacks recipes or afterwards). {anew}",
        '{"schema_version": 1, "recipes": [], "afterwards": null}': f"{plan} is damaged (it holds no recipes). {anew}",
        '{"schema_version": 1, "recipes": [3], "afterwards": null}': (
            f"{plan} is damaged (a recipe in it is no JSON object). {anew}"
        ),
        '{"schema_version": 2, "recipes": [{}]}': (
            f"{plan} has version 2, and this deepcollapse reads version 1. Use the deepcollapse that wrote it."
        ),
    }
    with pytest.raises(RunError) as caught:
        write_sweep_page(tmp_path, tmp_path / "page.html")
    assert str(caught.value) == f"{tmp_path} is not a sweep: it has no sweep.json. Name the folder given to --out."
    for text, message in damaged.items():
        plan.write_text(text, encoding="utf-8")
        with pytest.raises(RunError) as caught:
            write_sweep_page(tmp_path, tmp_path / "page.html")
        assert str(caught.value) == message
    assert not (tmp_path / "page.html").exists()


def test_a_big_sweep_gives_a_small_page(tmp_path):
    make_sweep(tmp_path / "s", decay=[10.0**-i for i in range(1, 6)], rate=[0.1 * i for i in range(1, 7)])
    one = next((tmp_path / "s" / "runs").glob("*/records.jsonl"))
    lines = one.read_text(encoding="utf-8").splitlines(keepends=True)
    early = "".join(line for line in lines if '"epoch": 1,' in line)
    one.write_text(early * 1000 + "".join(lines), encoding="utf-8")  # about as many rows as a long training leaves
    for records in (tmp_path / "s" / "runs").glob("*/records.jsonl"):
        if records != one:
            shutil.copy(one, records)
    out = write_sweep_page(tmp_path / "s", tmp_path / "page.html")
    assert out.stat().st_size < 6e6
    assert is_sweep(tmp_path / "s")
    assert not is_sweep(tmp_path)
