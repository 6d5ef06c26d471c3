import json
import math

from deepcollapse.records.charts import Axis, Chart, Curve, Heat, Panel, Table
from deepcollapse.records.study import Failure, JudgedClaim, Judgement, StudyRecord


def record(shown, numbers):
    claim = JudgedClaim("id", "sentence", "criterion", (Judgement("all", "holds", "so it is", numbers),))
    return StudyRecord(
        study="s",
        title="t",
        citation="c",
        summary="",
        scale="smoke",
        words="",
        scaled_down=(),
        seconds=1.0,
        runs=0,
        failures=(),
        claims=(claim,),
        shown=shown,
        provenance={},
    )


def test_numbers_that_are_not_finite_are_kept_as_missing_and_lose_nothing_else(tmp_path):
    curve = Curve("c", (1, 2, 3), (1.5, math.nan, math.inf))
    heat = Heat("h", Axis("x"), Axis("y"), ("a",), ("b",), ((-math.inf,),))
    shown = (
        Chart("chart", (Panel("p", Axis("x"), Axis("y"), (curve,)), heat)),
        Table("t", ("n",), ((math.nan,), (2,))),
    )
    record(shown, {"ratio": math.inf, "seeds": 3}).write(tmp_path)
    back = StudyRecord.read(tmp_path)
    chart, table = back.shown
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    panel, map_ = chart.panels
    assert isinstance(panel, Panel)
    assert isinstance(map_, Heat)
    assert panel.curves[0].y == (1.5, None, None)
    assert map_.values == ((None,),)
    assert table.rows == ((None,), (2,))
    assert back.claims[0].judgements[0].numbers == {"ratio": None, "seeds": 3}


def test_failures_as_earlier_versions_wrote_them_are_read(tmp_path):
    path = record((), {}).write(tmp_path)
    values = json.loads(path.read_text()) | {"failures": ["0119a0b1b661: OptionError: no: such thing\nand more"]}
    path.write_text(json.dumps(values))
    [failure] = StudyRecord.read(tmp_path).failures
    assert failure == Failure("0119a0b1b661", "", "OptionError: no: such thing\nand more")
    assert failure.line == "OptionError: no: such thing"
