"""What a study might have found, from formulas: claims with every verdict, and charts and tables of every kind."""

import math

from deepcollapse.records.charts import Axis, Chart, Curve, Heat, Panel, Table
from deepcollapse.records.study import Failure, JudgedClaim, Judgement, StudyRecord

EPOCHS = (0, 1, 2, 4, 8, 16, 30, 60, 120, 200)
RUNS = ("0119a0b1b661", "20da8173d095", "3b3ca32372ce")
CLAIMS = (
    JudgedClaim(
        "nc1",
        "Within-class variability collapses during the terminal phase.",
        "NC1 falls over the terminal phase: correlation with the epoch at most -0.5, end over onset at most 0.5, "
        "median over at least 3 seeds.",
        (
            Judgement(
                "digits, mlp", "holds", "end/onset 0.021 (0.018 to 0.04 over 3 seeds)", {"end_over_onset": 0.0213}
            ),
            Judgement("mnist, mlp", "holds", "end/onset 0.09 (0.05 to 0.12 over 3 seeds)", {"seeds": 3}, "", RUNS),
        ),
        paper="Fig. 6",
    ),
    JudgedClaim(
        "nc2-angle",
        "Class means and classifiers become equiangular.",
        "Both standard deviations of cosines fall.",
        (
            Judgement("digits, mlp", "holds", "end/onset 0.31", {"end_over_onset": 0.31, "correlation": -0.94}),
            Judgement("mnist, mlp", "fails", "end/onset 0.83 (0.7 to 1.1 over 3 seeds)", {"end_over_onset": 0.83}),
        ),
        paper="Fig. 3",
    ),
    JudgedClaim(
        "accuracy",
        "Test accuracy improves in the terminal phase.",
        "End less onset is at least 0 in the median over seeds.",
        (Judgement("digits, mlp", "inconclusive", "+0.1 points (-0.2 to 0.4 over 3 seeds)", {"points": 0.1}),),
        paper="+0.35 points in the median, 3 of 21 decline",
    ),
    JudgedClaim(
        "robust",
        "So does adversarial robustness.",
        "The relative norm of DeepFool's perturbation is larger at the end than at onset.",
        (Judgement("all", "not tested", "", why="no run reached the terminal phase at this scale"),),
        paper="+0.025 in the median",
        ours=True,
    ),
)


def falling(rate):
    return [4.0 * (1 + epoch) ** -rate for epoch in EPOCHS]


def banded(name, rate):
    y = falling(rate)
    return Curve(name, EPOCHS, y, [0.7 * value for value in y], [1.5 * value for value in y])


def charts():
    epoch, nc1 = Axis("epoch", log=True), Axis("NC1", log=True)
    many = [banded(f"blocks.{i}", 0.2 + 0.25 * i) for i in range(5)]
    decays = [0.0, 1e-4, 1e-3, 1e-2, 1e-1]
    ranks = Panel(
        "rank of each layer",
        Axis("weight decay", log=True),
        Axis("rank at 1 %"),
        [
            Curve("measured", decays, [52, 40, 21, 10, 9], [48, 33, 18, 9, 9], [55, 44, 25, 11, 10], "points"),
            Curve("bound", decays, [60, 50, 30, 12, 9], kind="prediction"),
            Curve("number of classes", [0.0, 1e-1], [10, 10], kind="threshold"),
        ],
    )
    curves = [
        Panel("digits, mlp", epoch, nc1, [banded("train", 0.9), banded("test", 0.3)], [(14, "TPT onset")]),
        Panel(
            "mnist, mlp", epoch, nc1, [banded("train", 0.7), banded("test", 0.2)], [(30, "TPT onset"), (120, "drop")]
        ),
        Panel("cifar10, resnet18", epoch, nc1, [banded("train", 0.5), Curve("test", (), ())]),
    ]
    heat = Heat(
        "average rank",
        Axis("weight decay"),
        Axis("learning rate"),
        ["0", "10⁻⁴", "10⁻³", "10⁻²"],
        ["0.01", "0.05", "0.1"],
        [[50.0, 44.0, 30.2, 12.0], [48.0, 40.0, 18.0, None], [47.5, 31.0, 9.0, None]],
    )
    far = Heat(
        "loss", Axis("depth"), Axis("classes"), list("23456"), ["2", "10"], [[10.0**-i for i in range(5)], [1.0] * 5]
    )
    signed = Heat("difference", Axis("a"), Axis("b"), list("abc"), ["d"], [[-1.0, 0.0, 2.0]], "points")
    return (
        Chart("Within-class variability over training", curves, "Fig. 6", "NC1 goes on falling after TPT onset."),
        Chart("Layers", [Panel("Layers", epoch, nc1, many)], "Fig. 7", "Deeper layers collapse more."),
        Chart("Ranks over weight decay", [ranks, heat], "Fig. 3", "Rank falls with decay."),
        Chart("Losses", [far, signed]),
        Table(
            "Accuracy at TPT onset and at the end",
            ["data set", "network", "onset", "end", "DeepFool"],
            [["digits", "mlp", 0.961, 0.9622, 0.32], ["mnist", "mlp", 0.97, None, math.pi]],
            "Table 1",
            "Test accuracy in the median over seeds.",
        ),
    )


def study(**changes):
    """A study that was run at laptop scale."""
    values = {
        "study": "papyan2020",
        "title": "Prevalence of neural collapse during the terminal phase of deep learning training",
        "citation": "papyan2020",
        "summary": "Networks are trained far beyond zero error, and the geometry of their last layer is watched.",
        "scale": "laptop",
        "words": "An MLP on digits and on 500 samples a class of MNIST, three seeds each, 200 epochs.",
        "scaled_down": (
            "MNIST has 500 samples a class in place of 5,000: the whole takes hours on two cores.",
            "One network family in place of three, for the same reason.",
        ),
        "seconds": 431.0,
        "runs": 6,
        "failures": (Failure("3b5ccd61704b", "rate=9 seed=1", "NonFiniteError: the loss became NaN in epoch 3."),),
        "claims": CLAIMS,
        "shown": charts(),
        "provenance": {"versions": {"python": "3.11"}, "platform": "Linux", "settings": {"seeds": [0, 1, 2]}},
    }
    return StudyRecord(**{**values, **changes})
