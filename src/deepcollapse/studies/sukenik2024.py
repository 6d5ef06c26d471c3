"""Neural collapse versus low-rank bias: is deep neural collapse really optimal? :cite:`sukenik2024`.

With free features, several layers and weight decay, deep neural collapse (every class an axis of its own in every
layer) is optimal for two classes or two layers, and for hardly anything beyond: solutions of lower rank, built on the
edges of a graph, cost less, and gradient descent finds them. Within-class variability collapses all the same. The paper
shows it for its model, and for heads of ReLU layers on top of networks trained on MNIST and CIFAR-10.

The model's part is searched from many starts (`deep_descents`); the paper's own construction was not at hand, and the
one here has every property that is quoted of it (`theory`). Heads are trained end to end (`relu_heads`), and their
layers looked at one by one (`head_ranks`). Claims on the model are judged in `deep_claims`.
"""

from dataclasses import replace

from deepcollapse.studies.charts.deep_collapse import show
from deepcollapse.studies.judging.claim import Claim
from deepcollapse.studies.judging.deep_claims import (
    judge_beyond,
    judge_decay,
    judge_dnc1,
    judge_dnc2,
    judge_graph,
    judge_rate,
    judge_two,
    judge_width,
)
from deepcollapse.studies.judging.relu_heads import judge_real
from deepcollapse.studies.measured.deep_descents import DeepModel, descents, graph, seconds, watched
from deepcollapse.studies.measured.relu_heads import Heads, recipes
from deepcollapse.studies.study import Computation, Scale, Study

# ------------------------------------------------------------- claims

CLAIMS = (
    Claim(
        "two",
        "For two classes or two layers, deep neural collapse is optimal.",
        "The best of at least 20 descents does not end below the loss of collapse by more than a millionth of it, and "
        "some end within 1 % of it.",
        judge_two,
        paper="theorem",
    ),
    Claim(
        "beyond",
        "For more layers and classes it is not.",
        "Of at least 3 starts, some descent ends more than 1 % below the loss of collapse (10 classes, 4 layers, decay "
        "0.004, width 20 to 30), saying something of every class, and none below the rigorous lower bound.",
        judge_beyond,
        paper="theorem: from 10 classes on at 3 layers, from 6 on at more; Fig. 2, top, at width 30",
    ),
    Claim(
        "dnc1",
        "Within-class variability still collapses.",
        "Variability within classes over that between them is at most 1e-3 in every layer at the end, with at least 5 "
        "samples a class; in the median of starts.",
        judge_dnc1,
        paper="Fig. 2",
        ours=True,
    ),
    Claim(
        "dnc2",
        "But class means are not an orthogonal frame.",
        "Their rank in the layers between the first and the last is below the number of classes in every descent that "
        "ends more than 1 % below the loss of collapse.",
        judge_dnc2,
        paper="Fig. 2",
    ),
    Claim(
        "graph",
        "A construction of low rank, with the classes as edges of a graph, costs less than collapse, and the more so "
        "the more classes and layers there are.",
        "The ratio of their prices is below 1 from 10 classes on at 3 layers and from 6 on at more, and falls with "
        "both.",
        judge_graph,
        paper="Fig. 3, left",
    ),
    Claim(
        "decay",
        "The average rank falls with weight decay.",
        "The rank, averaged over layers and over the starts of a group, has a rank correlation with weight decay of at "
        "most -0.8 over at least 5 decays, in the median of 4 groups.",
        judge_decay,
        paper="Fig. 3, middle",
        ours=True,
    ),
    Claim(
        "width",
        "Collapsed solutions are more likely in wider networks.",
        "The share of descents of a group of starts that end within 0.2 % of the loss of collapse has a rank "
        "correlation with width of at least 0.8 over at least 5 widths, in the median of 4 groups.",
        judge_width,
        paper="Fig. 3, right",
        ours=True,
    ),
    Claim(
        "rate",
        "The learning rate moves the rank.",
        "Over at least 4 rates, rate times steps being the same for all, the ranks differ beyond the spread over "
        "starts: Kruskal and Wallis's test gives p < 0.01. In which direction is not claimed.",
        judge_rate,
        ours=True,
    ),
    Claim(
        "real",
        "The same happens in a head of ReLU layers on top of a trained network.",
        "The largest rank of hidden class means before the ReLU is at least C-1 at the weakest decay, and lower and "
        "below C at the strongest at which networks learn every class; DNC1 there is at most 0.1 in every layer of the "
        "head, and training accuracy at least 99 % at both; each in the median of at least 3 seeds.",
        judge_real,
        paper="Fig. 2, bottom; MNIST and CIFAR-10",
        ours=True,
    ),
)

# ------------------------------------------------------------- scales

NOT_AT_HAND = (
    "The paper's own low-rank matrices were not at hand: the construction here has all their quoted properties."
)
ORDINARY = (
    "Heads are trained with ordinary weight decay on all parameters; the paper also has a variant that decays the head "
    "and its input features alone."
)
MOMENTUM = "Descents have momentum and end at a tenth of the rate, which takes a sixth of the paper's steps."
FEWER_IMAGES = "Heads sit on a fully connected body and see 50 images of each class: a ResNet20 on all takes a GPU."
AVERAGED = (
    "The squared error is averaged over classes here, so that the paper's decay 0.005 and rate 0.05 for ten classes "
    "are 0.001 and 0.25."
)
LENGTH = "The number of epochs is this project's choice: the paper's was not at hand."

SMOKE = Scale(
    "10 classes in 4 layers by short descents from 8 starts, widths with 6 classes; heads on a small body on digits.",
    ("digits",),
    ("relu-head",),
    (0, 1, 2),
    (NOT_AT_HAND, ORDINARY, MOMENTUM, "Descents are cut short, and heads are trained on 20 images of each digit."),
    {
        "model": DeepModel(
            starts=8,
            steps=3000,
            searched=(20,),
            decays=(0.001, 0.002, 0.003, 0.005, 0.008),
            widths=(8, 12, 18, 24, 30),
            width_classes=6,
            width_decay=0.01,
            width_rate=0.2,
            watched=4,
        ),
        "heads": Heads(
            decays=(2.5e-4, 3e-3), decay=3e-3, rate=0.4, width=24, epochs=250, batch=50, drops=(0.6, 0.8), per_class=20
        ),
        "depths": (3, 4, 5),
        "vertices": (4, 5, 6),
    },
)

HEADS = Heads(
    decays=(2.5e-4, 5e-4, 1e-3, 1.5e-3, 3e-3),
    decay=1.5e-3,
    rates=(0.1, 0.2, 0.5),
    widths=(32, 64, 128),
    per_class=50,
)
LAPTOP = Scale(
    "10 classes in 4 layers from 32 starts; heads of 4 layers on 50 images of each class of MNIST and CIFAR-10.",
    ("mnist", "cifar10"),
    ("relu-head",),
    (0, 1, 2),
    (NOT_AT_HAND, ORDINARY, MOMENTUM, FEWER_IMAGES),
    {
        "model": DeepModel(starts=32, steps=20_000, decay_steps=30_000),
        "heads": HEADS,
        "depths": (3, 4, 5),
        "vertices": (4, 5, 6, 7, 8, 9, 10),
    },
)

RESNET20 = Heads(
    decays=(1e-4, 2e-4, 5e-4, 1e-3, 2e-3),
    decay=1e-3,
    rates=(0.1, 0.25, 0.5),
    rate=0.25,
    widths=(32, 64, 128),
    body_width=16,
    body_depth=3,
    epochs=200,
    batch=128,
)
WIDE_GRAPH = {"depths": (3, 4, 5), "vertices": (4, 5, 6, 7, 8, 9, 10, 11, 12)}
GPU = Scale(
    "10 classes in 4 layers from 64 starts; heads of 4 layers on ResNet20, on all of MNIST and CIFAR-10, three seeds.",
    ("mnist", "cifar10"),
    ("relu-head-resnet",),
    (0, 1, 2),
    (NOT_AT_HAND, ORDINARY, MOMENTUM, AVERAGED, LENGTH),
    {
        "model": DeepModel(starts=64, steps=40_000, decay_steps=80_000, watched=16, further=((15, 4, 40), (15, 7, 40))),
        "heads": RESNET20,
        **WIDE_GRAPH,
    },
)
PAPER = Scale(
    "Plain descent at rate 0.5 of 10 classes in 4 layers, 10 runs; heads of 4 layers on ResNet20, all images, 5 seeds.",
    ("mnist", "cifar10"),
    ("relu-head-resnet",),
    (0, 1, 2, 3, 4),
    (NOT_AT_HAND, ORDINARY, AVERAGED, LENGTH, "Two classes and two layers are searched from 20 starts, for the claim."),
    {
        "model": DeepModel(
            starts=10,
            steps=120_000,
            rate=0.5,
            momentum=0.0,
            width=30,
            searched=(30,),
            rates=(0.1, 0.2, 0.5, 0.8),
            watched=10,
            further=((3, 4, 30), (4, 4, 30), (5, 4, 30), (15, 7, 40)),
        ),
        "heads": replace(RESNET20, epochs=500),
        **WIDE_GRAPH,
    },
)

STUDY = Study(
    name="sukenik2024",
    title="Neural collapse versus low-rank bias: is deep neural collapse really optimal?",
    citation="sukenik2024",
    summary="Beyond two layers and two classes, solutions of low rank cost less than deep neural collapse.",
    scales={"smoke": SMOKE, "laptop": LAPTOP, "gpu": GPU, "paper": PAPER},
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.measured.head_ranks:afterwards",
    computations=(
        Computation("descents", descents, seconds),
        Computation("watched", watched),
        Computation("graph", graph),
    ),
    show=show,
)
