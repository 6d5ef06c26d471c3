"""`deepcollapse theory` with the models that need no page: numbers, words, and errors."""

import math

import pytest
import torch

from deepcollapse import measure_features
from deepcollapse.cli.theory import group_table
from deepcollapse.records import Run

TWO = ["--majority", "5", "--minority", "5", "--ratio"]
COSINES = ["cos_w_minority", "cos_w_majority", "cos_w_cross"]
KEYS = ["phase", "a", "b", "r", "rho", "mu", "loss", *COSINES, "gap", "threshold_ratio"]

pytestmark = pytest.mark.usefixtures("here")


def test_the_layer_peeled_model_to_every_digit(call):
    done = call("theory", "layer-peeled", *TWO, 10, "--weight-budget", 1, "--feature-budget", 5, "--json")
    assert (done.code, done.err) == (0, "")
    assert [*done.json][:12] == KEYS
    assert done.json["phase"] == "full"
    assert done.json["cos_w_minority"] == pytest.approx(0.5174962815, abs=1e-10)
    assert done.json["threshold_ratio"] == pytest.approx(12.192447, rel=1e-7)


def test_unconstrained_features_to_every_digit(call):
    sizes, decays = ["--classes", 10, "--per-class", 5000], ["--weight-decay", 5e-4, "--feature-decay", 1e-5]
    done = call("theory", "ufm", *sizes, *decays, "--json")
    assert [*done.json][:4] == ["margin", "weight_norm_squared", "feature_norm_squared", "loss"]
    numbers = [done.json[name] for name in [*done.json][:4]]
    assert numbers == pytest.approx([5.25227342805, 472.704608524, 23635.2304262, 0.282396242764], rel=1e-11)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("--loss label-smoothing --smoothing 0.05 --weight-decay 5e-3", "margin", 4.06175635631),
        ("--loss label-smoothing --weight-decay 5e-3", "margin", 3.45424682825),
        ("--loss focal --weight-decay 5e-4", "margin", 3.20618254568),
        ("--loss focal --focus 3 --weight-decay 5e-4", "margin", 2.63324200164),
        ("--loss mse --bias free --weight-decay 5e-3", "bias", 0.25),
        ("--loss mse --bias 0.2 --weight-decay 5e-3", "mean_value", 1.57105391319),
    ],
)
def test_losses_and_biases(flags, name, value, call):
    done = call("theory", "ufm", "--classes", 4, "--per-class", 3, "--feature-decay", 1e-3, *flags.split(), "--json")
    assert done.json[name] == pytest.approx(value, rel=1e-11)


def test_seli_to_every_digit(call):
    done = call("theory", "seli", *TWO, 100, "--json")
    assert done.json["cos_w_minority"] == pytest.approx(0.338026075390, abs=1e-12)
    assert [group["samples"] for group in done.json["groups"]] == [100.0, 1.0]


def test_two_groups_and_their_counts_are_one_model(call):
    flags = ["--weight-decay", 0.02, "--feature-decay", 0.02, "--json"]
    two = call("theory", "ufm", "--majority", 2, "--minority", 3, "--ratio", 2, "--per-class", 4, *flags).json
    counts = call("theory", "ufm", "--counts", 8, 8, 4, 4, 4, *flags).json
    assert two == counts
    assert two["weight_norm_squared"] == pytest.approx(26.5091777430245, rel=1e-9)
    assert [group["collapsed"] for group in two["groups"]] == [False, False]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ("10", "minority classes stand 58.8° apart; balanced classes would stand 96.4° apart. "),
        ("10", "R0 = 12.1924 on: 10 is a factor of 1.22 below it. "),
        ("100", "minority collapse: the classifiers of the 5 minority classes coincide"),
        ("100", "show each minority sample more than 8.202 times to part the classes, 100 times to restore"),
        ("inf", "here they have no samples. What to do: collect samples"),
        ("1e400", "here they have no samples"),
    ],
)
def test_the_verdict_says_phase_distance_and_remedy(ratio, said, call):
    assert said in " ".join(call("theory", "layer-peeled", *TWO, ratio).out.split()) + " "


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("layer-peeled --majority 7 --minority 3 --ratio 6", "the 3 minority classes are erased"),
        ("layer-peeled --majority 9 --minority 1 --ratio 5", "the one minority class is erased"),
        ("layer-peeled --classes 10", "balanced classes form a simplex ETF: every two stand 96.4° apart."),
        ("layer-peeled --counts 500 500 100 100 10 10", "2 of 6 classes (those with 10 samples) coincide with others"),
        ("layer-peeled --counts 5 5 4 3", "all classes stand apart"),
        ("ufm --classes 10", "the classes form a simplex ETF: every two of the 10 classes stand 96.4° apart."),
        ("ufm --classes 4 --loss mse", "the classes form an orthogonal frame: every two of the 4 classes stand 90.0°"),
        ("ufm --classes 4 --loss mse --bias 0.01", "something between an orthogonal frame and a simplex ETF."),
        ("ufm --classes 4 --per-class 9 --weight-decay 99", "What to do: weaken a decay"),
        (
            "ufm --counts 9 9 2 2 --weight-decay .1 --feature-decay .1",
            "2 of 4 classes (those with 2 samples) coincide with",
        ),
        ("ufm --counts 9 9 5 5", "all classes stand apart: the least margin is"),
        ("seli --counts 9 9 5 5", "no classes coincide at any finite ratio"),
    ],
)
def test_the_verdict_names_the_model(flags, said, call):
    done = call("theory", *flags.split())
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert said in words
    assert any(f"{start} the {name} model" in words for start in ("By", "of") for name in MODELS) or "By SELI" in words
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("model", "lost", "said"),
    [
        ("layer-peeled", (30, 2, 1), "3 of 7 classes (those with 30, 2 and 1 samples) have a margin of 0 or less"),
        ("layer-peeled", (30, 2, 1), "share directions: 3 of them where 6 would keep these classes apart"),
        ("layer-peeled", (30, 2, 1), "the closest two classifiers stand 0.009° apart. So the network cannot tell"),
        (
            "ufm --weight-decay 1e-3 --feature-decay 1e-4",
            (2, 1),
            "2 of 7 classes (those with 2 and 1 samples) have a margin of 0 or less, the least -0.304",
        ),
    ],
)
def test_classes_that_are_lost_without_coinciding_are_named(model, lost, said, call):
    flags = [*model.split(), "--counts", 6000, 800, 700, 40, 30, 2, 1]
    words = " ".join(call("theory", *flags).out.split())
    assert said in words
    assert "all classes stand apart" not in words
    assert "phase" not in words
    facts = call("theory", *flags, "--json").json
    assert facts["least_margin"] < 0
    assert facts["rank"] < 6
    assert facts["cos_w_closest"] > 0.999
    assert tuple(group["samples"] for group in facts["groups"] if group["margin"] <= 0) == lost


def test_two_groups_tell_of_lost_classes_too(call):
    facts = call("theory", "layer-peeled", *TWO, 100, "--json").json
    assert (facts["least_margin"], facts["cos_w_closest"], facts["rank"]) == (0.0, 1.0, 5)
    assert [group["margin"] > 0 for group in facts["groups"]] == [True, False]


def test_a_class_without_samples_has_no_margin_and_is_said_to_have_none(call):
    flags = ["theory", "layer-peeled", "--counts", 500, 100, 0]
    assert "1 of 3 classes has no samples to learn from." in " ".join(call(*flags).out.split())
    facts = call(*flags, "--json").json
    assert facts["least_margin"] > 1
    assert facts["groups"][2]["margin"] is None


@pytest.mark.parametrize("model", ["ufm", "layer-peeled", "seli"])
@pytest.mark.parametrize("counts", [[5, 4], [5, 4, 3]])
def test_json_names_model_and_groups(model, counts, call):
    facts = call("theory", model, "--counts", *counts, "--json").json
    assert facts["model"] == {"ufm": "unconstrained-features", "seli": "SELI"}.get(model, model)
    assert [group["samples"] for group in facts["groups"]] == counts


def test_assumed_settings_are_told(call):
    words = " ".join(call("theory", "ufm", "--classes", 10).out.split())
    said = "10 classes, 1 sample of each class, cross-entropy, weight decay 0.0005, feature decay 0.0005, no bias."
    assert f"Solved for {said}" in words
    settings = call("theory", "ufm", "--classes", 10, "--json").json["settings"]
    assert (settings["counts"], settings["weight_decay"], settings["loss"]) == ([1.0], 5e-4, "cross-entropy")
    assert "Solved for budgets E_W = 1 and E_H = 5." in call("theory", "layer-peeled", "--classes", 10).out


@pytest.mark.parametrize(
    ("flags", "unsaid"),
    [
        ("--majority 3 --minority 5 --ratio 1", "1 times"),
        ("--counts 500 0", "keeps a direction"),
        ("--classes 10", "phase"),
    ],
)
def test_words_fit_the_case(flags, unsaid, call):
    assert unsaid not in " ".join(call("theory", "layer-peeled", *flags.split()).out.split())


@pytest.mark.parametrize("model", ["layer-peeled", "ufm"])
def test_narrow_terminals_see_which_classes_coincide_and_are_lost(model, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    decays = ["--weight-decay", 1e-2, "--feature-decay", 1e-3] if model == "ufm" else []
    out = call("theory", model, "--counts", 500, 500, 100, 100, 10, 10, *decays).out
    table = out.split("\n\n")[2]
    assert "coincide" in table
    assert max(map(len, out.splitlines())) <= 60
    assert "cos w" not in out


def test_many_groups_are_said_to_take_time(call, monkeypatch):
    monkeypatch.setattr(group_table, "MANY", 3)
    done = call("theory", "ufm", "--counts", 3, 2, 1, "--json")
    assert done.err == "Solving for 3 different numbers of samples; this may take a minute or so.\n"
    assert done.json["model"] == "unconstrained-features"


MODELS = ("layer-peeled", "unconstrained-features")


def test_many_groups_are_cut_off_and_said_to_be(call):
    done = call("theory", "seli", "--counts", *range(1, 26))
    assert "5 more groups with fewer samples are in the output of --json." in done.out
    assert len(call("theory", "seli", "--counts", *range(1, 26), "--json").json["groups"]) == 25


def test_a_forecast_for_ones_own_counts(call):
    done = call("theory", "forecast", "--counts", 500, 500, 5, 5)
    assert (done.code, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "expects minority collapse" in words
    assert "show classes of fewer samples as if they had more than" in words
    assert "Show every class with fewer than" in words
    assert max(map(len, done.out.splitlines())) <= 80
    assert "These are the budgets E_W = 1 and E_H = 5 of the experiments that found minority collapse." in words
    facts = call("theory", "forecast", "--counts", 500, 500, 5, 5, "--json").json
    assert (facts["phase"], facts["weight_budget"], facts["feature_budget"]) == ("collapse", 1.0, 5.0)
    decays = ["--weight-decay", 0.01, "--feature-decay", 0.01, "--json"]
    assert call("theory", "forecast", "--counts", 500, 500, 5, 5, *decays).json["ufm_collapsed"] == [2, 3]


def test_a_forecast_of_three_counts_says_what_every_class_needs(call):
    budgets = ["--weight-budget", 1, "--feature-budget", 1]
    words = call("theory", "forecast", "--counts", 1000, 1000, 10, 10, 5, 5, *budgets).out
    assert "Show every class with fewer than 194 samples as often as if it had 194" in " ".join(words.split())
    facts = call("theory", "forecast", "--counts", 1000, 1000, 10, 10, 5, 5, *budgets, "--json").json
    assert facts["oversampling"] is None
    assert facts["factors"] == pytest.approx([1, 1, 19.387, 19.387, 38.774, 38.774], rel=1e-3)


def test_a_forecast_says_where_decays_leave_nothing(call):
    decays = ["--weight-decay", 0.1, "--feature-decay", 0.1]
    words = " ".join(call("theory", "forecast", "--counts", 100, 60, 30, *decays).out.split())
    assert "all zero is optimal" in words
    assert call("theory", "forecast", "--counts", 100, 60, 30, *decays, "--json").json["ufm_rank"] == 0


WAYS = "Give --classes 10, or --majority 5 --minority 5 --ratio 10, or --counts 500 500 50."


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("ufm", f"say which classes there are in one way; got none. {WAYS}"),
        (
            "seli --classes 4 --counts 3 4",
            f"say which classes there are in one way; got --classes and --counts. {WAYS}",
        ),
        (
            "layer-peeled --majority 5 --minority 5",
            "--majority, --minority and --ratio go together; --ratio is missing. For example --majority 5 --minority 5 "
            "--ratio 10.",
        ),
        ("layer-peeled --classes 0", "--classes is a number of classes, 1 or more; got 0."),
        ("ufm --classes 4 --per-class 0", "--per-class is a number of samples, 1 or more; got 0."),
        (
            "ufm --counts 5 4 --per-class 7",
            "--per-class goes with --classes or --majority; --counts says the samples of each class.",
        ),
        (
            "seli --counts 100 10 1 0",
            "SELI needs samples of every class; got one with 0 of them. Leave it out, or ask deepcollapse theory "
            "layer-peeled, which takes classes without samples.",
        ),
        (
            "ufm --classes 4 --weight-decay inf",
            "weight_decay must be a finite number above 0; got inf. At a decay of 0 there is no optimum: logits of a "
            "fitted class grow for ever.",
        ),
        (
            "ufm --counts 9 4 --feature-decay nan",
            "feature_decay must be a finite number above 0; got nan. At a decay of 0 logits would grow without end: "
            "see Seli for what they tend to.",
        ),
        ("layer-peeled --classes 1", "theory compares classes: it needs at least 2 of them; got 1."),
        (
            "layer-peeled --majority 5 --minority 5 --ratio 0.5",
            "the ratio of majority to minority samples must be 1 or more; got 0.5.",
        ),
        (
            "layer-peeled --classes 5 --weight-budget 0",
            "weight_budget is a mean squared length: it must be finite and above 0; got 0.",
        ),
        ("ufm --classes 4 --bias some", "--bias is none, free or a decay such as 0.01; got some."),
        ("ufm --classes 4 --focus 2", "--focus goes with --loss focal; got --loss cross-entropy."),
        ("ufm --classes 4 --loss mse --smoothing 0", "--smoothing goes with --loss label-smoothing; got --loss mse."),
        ("ufm --counts 2.5 2.5", "classes have whole numbers of samples here; got 2.5."),
        (
            "ufm --counts 4 2 --loss mse",
            "classes of different sizes are solved for cross-entropy alone; got --loss mse. Give --classes and "
            "--per-class for balanced ones.",
        ),
        (
            "forecast",
            "say how many samples each class has, for example --counts 500 500 50 50, or name a run with --run.",
        ),
    ],
)
def test_errors_in_words_and_in_json(flags, message, call):
    done = call("theory", *flags.split())
    assert (done.code, done.out, done.err) == (1, "", f"deepcollapse: {message}\n")
    done = call("theory", *flags.split(), "--json")
    assert (done.code, done.err, done.json["message"]) == (1, "", message)


def test_numbers_that_are_none_are_a_usage_error(call):
    done = call("theory", "seli", "--counts", "many", "--json")
    assert (done.code, done.json["error"]) == (2, "OptionError")
    assert "could not convert string to float: 'many'" in done.json["message"]


def test_what_is_undefined_is_null(call):
    facts = call("theory", "layer-peeled", "--majority", 7, "--minority", 3, "--ratio", 6, "--json").json
    assert (facts["phase"], facts["cos_w_minority"]) == ("erased", None)
    assert math.isfinite(facts["loss"])


def test_a_forecast_takes_counts_budgets_and_decays_from_a_run(call, tmp_path):
    run = Run.create(tmp_path / "run", recipe={}, class_names=["a"], data_digest={}, device="cpu", seed=None)
    features = torch.eye(4).double().repeat_interleave(torch.tensor([40, 40, 2, 2]), dim=0)
    labels = torch.arange(4).repeat_interleave(torch.tensor([40, 40, 2, 2]))
    measured = measure_features(features, labels, num_classes=4, classifier=torch.eye(4))
    measured.write(run, epoch=1)
    told = call("theory", "forecast", "--run", run.path, "--json").json
    assert (told["weight_budget"], told["classes"], told["ratio"]) == (1.0, 4, 20.0)
    assert told["feature_budget"] == pytest.approx(measured["feature_budget"], rel=1e-12)
    assert call("theory", "forecast", "--run", run.path, "--counts", 5, 5, "--json").json["ratio"] == 1.0
