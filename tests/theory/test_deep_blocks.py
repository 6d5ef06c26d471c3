"""Blocks, parts of graphs and shapes of low rank: what is known for classes that are no graph's."""

import math
from dataclasses import replace

import pytest
import torch

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.deep.blocks import of_code, together
from deepcollapse.theory.problems.deep.construction import Construction
from deepcollapse.theory.problems.deep.low_rank import arc, searched_structure
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.problems.deep.strongly_regular import EdgeCode, incidence, partial_structure, sign_rows
from deepcollapse.theory.problems.deep.structures import collapsed_structure, shape_structure

uniform = DeepUnconstrainedFeatures.uniform


def assert_built(construction: Construction) -> None:
    assert construction.problem.value(construction.point()) == pytest.approx(construction.loss, abs=1e-12)
    layers = construction.problem.layers(construction.point())
    assert tuple(int(torch.linalg.matrix_rank(h, rtol=1e-9)) for h in layers) == construction.ranks


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_fixed_values_of_partitions():
    seven = uniform(7, 4, 0.004, width=7)
    assert seven.collapsed().loss == pytest.approx(0.069601196379, abs=1e-11)
    assert seven.blocks().loss == pytest.approx(0.067422116006, abs=1e-11)
    assert seven.blocks().name == "blocks: 6 strongly regular graph, subsets of 2 + 1 collapsed"
    twelve = uniform(12, 3, 0.002, width=30)
    assert twelve.collapsed().loss == pytest.approx(0.047708458344, abs=1e-11)
    assert twelve.blocks().loss == pytest.approx(0.044681930490, abs=1e-11)
    assert_built(seven.blocks())
    assert_built(twelve.blocks())


def test_a_given_partition_has_its_fixed_value_and_the_best_one_is_better():
    problem = uniform(16, 4, 0.001, width=16, per_class=2)
    terms = problem._terms
    parts = [
        (s, of_code(code, terms.of_block(s), refined=False)) for s, code in ((10, EdgeCode(5, 3)), (6, EdgeCode(4, 2)))
    ]
    given = together(terms, parts)
    assert problem.collapsed().loss == pytest.approx(0.045777134797, abs=1e-11)
    assert given.loss == pytest.approx(0.039923731843, abs=1e-11)
    assert_built(given)
    assert problem.blocks().name == "blocks: 15 strongly regular graph, subsets of 4 + 1 collapsed"
    assert problem.blocks().loss < given.loss
    assert_built(problem.blocks())


@pytest.mark.parametrize(("num_classes", "width"), [(7, 7), (9, 12), (13, 30), (17, 17), (22, 40)])
def test_the_partition_is_the_best_of_all(num_classes, width):
    """Against every way to cut the classes into single ones and graphs that fit."""
    problem = uniform(num_classes, 4, 0.001, width=width)
    terms = problem._terms
    sizes = {1: [(1, collapsed_structure(1, 4).at_best_scales(terms.of_block(1)).loss)]}
    for r in (4, 5, 6, 7):
        size = math.comb(r, 2)
        codes = [EdgeCode(r, s) for s in range(2, r - 1)]
        sizes[size] = [(c.rows, of_code(c, terms.of_block(size), refined=False).loss) for c in codes]
    options = [(size, rows, size * loss) for size, some in sizes.items() for rows, loss in some]

    def least(classes: int, room: int, first: int) -> float:
        if classes == 0:
            return 0.0
        found = [math.inf]
        for index, (size, rows, cost) in enumerate(options[first:], start=first):
            if size <= classes and rows <= room:
                found.append(cost + least(classes - size, room - rows, index))
        return min(found)

    assert problem.blocks().loss == pytest.approx(least(num_classes, width, 0) / num_classes, rel=1e-12)
    assert_built(problem.blocks())


def test_layers_narrower_than_classes_give_classes_up():
    problem = uniform(10, 4, 0.004, width=8)
    found = problem.optimum()
    assert found.name == "blocks: 6 strongly regular graph, subsets of 2, refined + 2 collapsed + 2 given up"
    assert 0.1 < found.loss < 0.2
    assert_built(found)


def test_many_classes():
    problem = uniform(60, 4, 1e-4, width=150)
    found = problem.optimum()
    assert found.loss < problem.blocks().loss < problem.collapsed().loss
    assert found.width <= 150
    assert_built(found)
    with pytest.raises(OptionError) as raised:
        uniform(1001, 4, 1e-7, width=2000).blocks()
    assert str(raised.value) == (
        "the best partition into blocks is worked out for up to 1000 classes; got 1001. Ask for collapsed() or "
        "strongly_regular() instead."
    )
    huge = uniform(124_750, 4, 1e-9, width=10**6)  # the edges of 500 vertices
    assert huge.strongly_regular().loss < huge.collapsed().loss
    assert huge.optimum().loss <= huge.strongly_regular().loss


# --- some of a graph's edges ------------------------------------------------------------------------------------------


def test_all_of_a_graphs_edges_are_the_graph():
    for depth in (2, 3, 5):
        whole, code = partial_structure(10, depth, 3), EdgeCode(5, 3).structure(depth)
        assert whole.sizes == pytest.approx(code.sizes, rel=1e-12)
        assert (whole.ranks, whole.widths) == (code.ranks, code.widths)


@pytest.mark.parametrize(("r", "s", "b"), [(4, 2, 0.7), (5, 3, 1.0), (6, 3, 0.4), (7, 5, 0.9), (6, 2, 0.0)])
def test_counts_give_the_matrices_own_numbers(r, s, b):
    for depth in (2, 3, 5):
        counted = EdgeCode(r, s, b).structure(depth)
        computed = shape_structure("", incidence(r), sign_rows(r, s, b), depth)
        assert counted.front == pytest.approx(computed.front, rel=1e-12)
        spread = sorted(e for e, count in counted.gram for _ in range(count))
        assert spread == pytest.approx([e for e, _ in computed.gram], rel=1e-9, abs=1e-12)
        assert (counted.ranks, counted.widths) == (computed.ranks, computed.widths)


@pytest.mark.parametrize(("num_classes", "depth"), [(8, 3), (9, 3), (7, 4), (14, 4)])
def test_some_edges_beat_collapse_and_graphs_beside_single_classes(num_classes, depth):
    problem = uniform(num_classes, depth, 0.002, width=20)
    found = problem.partial_graph()
    assert found.loss < min(problem.blocks().loss, problem.collapsed().loss)
    assert problem.optimum().loss <= found.loss
    assert_built(found)


def test_too_few_classes_or_layers_for_edges():
    for problem, said in (
        (uniform(3, 4, 0.01, width=9), "edges of a graph need 4 classes or more; got 3. See arc()."),
        (uniform(5, 1, 0.01, width=9), "a strongly regular graph needs a ReLU, so two layers or more; got depth=1."),
        (
            uniform(8, 3, 0.01, width=9),
            "the strongly regular graph on 5 vertices with subsets of 2 needs layers of width 10; got 9.",
        ),
    ):
        with pytest.raises(OptionError) as raised:
            problem.partial_graph()
        assert str(raised.value) == said


# --- three classes on an arc, and what a search finds ----------------------------------------------------------------


@pytest.mark.parametrize(("depth", "decay", "ratio"), [(4, 0.03, 0.9699), (4, 0.003, 0.9777), (5, 0.02, 0.9145)])
def test_three_classes_on_an_arc_are_below_collapse(depth, decay, ratio):
    problem = uniform(3, depth, decay, width=4)
    found = problem.arc()
    assert found.loss / problem.collapsed().loss == pytest.approx(ratio, abs=6e-5)
    assert found.ranks == (*[2] * depth, 3)
    assert_built(found)
    assert problem.optimum().loss == found.loss
    shape = problem.layers(found.point())[1]
    gram = shape @ shape.T
    # Features proportional to (1, 0), (t, t), (0, 1).
    assert gram[0, 2].abs() < 1e-12
    assert gram[0, 0] == pytest.approx(float(gram[2, 2]))
    assert gram[1, 1] == pytest.approx(2 * float(gram[0, 1]) ** 2 / float(gram[0, 0]))


def test_the_arc_is_the_point_that_descent_was_seen_to_find():
    """Descent found 0.9701 of the loss of collapse, with this Gram matrix after the first layer."""
    problem = uniform(3, 4, 0.03, width=6)
    assert problem.arc().loss / problem.collapsed().loss == pytest.approx(0.9701, abs=5e-4)
    shape = problem.layers(problem.arc().point())[1]
    expected = torch.tensor([[1.11, 1.01, 0], [1.01, 1.83, 1.01], [0, 1.01, 1.11]]).double()
    assert (shape @ shape.T - expected).abs().max() < 0.05


def test_the_arc_beats_collapse_at_all_decays_from_four_layers_on():
    """Its price is below that of collapse at fixed numbers, and each further layer multiplies the product by 2/3."""
    structure = shape_structure("", *arc(0.93, 0.83, 0.2), depth=4)
    product = math.prod(structure.sizes) / 3**5
    assert product < 0.91
    assert math.prod(shape_structure("", *arc(0.93, 0.83, 0.2), depth=5).sizes) / 3**6 == pytest.approx(product * 2 / 3)
    problem = uniform(3, 3, 0.05, width=6)
    assert problem.arc().loss > problem.collapsed().loss  # not so at three layers
    assert problem.optimum().name == "collapsed"


def test_a_block_of_three_beats_collapse_for_any_number_of_classes():
    problem = uniform(4, 4, 0.004, width=5)
    found = problem.blocks(refined=True)
    assert found.name == "blocks: 3 three classes on an arc, refined + 1 collapsed"
    assert found.loss < problem.collapsed().loss
    assert_built(found)


def test_a_search_finds_the_arc_and_low_rank_at_four_classes():
    three = uniform(3, 4, 0.03, width=6)
    assert three.low_rank(2, rows=6, seeds=6).loss == pytest.approx(three.arc().loss, abs=1e-6)
    four = uniform(4, 4, 0.03, width=8)
    found = four.low_rank(3, seeds=4)
    assert found.loss / four.collapsed().loss < 0.9695  # descent was seen to reach 0.9687
    assert found.ranks == (3, 3, 3, 3, 4)
    assert found.name == "low rank 3, by search, refined"
    assert_built(found)


def test_what_cannot_be_a_shape_is_refused():
    for call, said in (
        (uniform(4, 4, 0.01, width=9).arc, "the arc is a structure of 3 classes; got 4. See low_rank(rank)."),
        (uniform(3, 2, 0.01, width=9).arc, "a shape that layers keep needs three of them or more; got depth=2."),
        (
            uniform(3, 4, 0.01, width=3).arc,
            "the solution 'three classes on an arc, refined' needs layers of width 2, 2, 2, 4; got 3.",
        ),
        (lambda: uniform(3, 4, 0.01, width=9).low_rank(4), "the rank of 3 classes' features is 1 to 3; got 4."),
    ):
        with pytest.raises(OptionError) as raised:
            call()
        assert str(raised.value) == said


def test_a_search_says_the_same_each_time():
    decays = replace(uniform(3, 4, 0.03, width=6)).factor_decays
    first, again = (searched_structure(3, 2, 4, decays, seeds=1) for _ in range(2))
    assert first.gram == again.gram
