"""`deepcollapse measure --function-rank`: its tables and rows, and what it refuses."""


def test_ranks_stand_in_a_table_and_in_the_rows(trained, call, here):
    done = call("measure", trained, "--function-rank", "2")
    assert (done.code, done.err) == (0, "")
    assert "rank as a function of the input   features   Jacobian   SVD   perturbed" in done.out
    assert "centred_classification_dimension" in done.out
    assert [line for line in done.out.splitlines() if len(line) > 80 and "weights.safetensors" not in line] == []
    rows = call("measure", trained, "--function-rank", "2", "--layers", "blocks.0", "--json").json["records"]
    ranked = {row["layer"]: row for row in rows if row["measure"] == "partial_jacobian_rank"}
    assert set(ranked) == {"blocks.0", "head.input"}
    assert ranked["blocks.0"]["note"].startswith("mean of 2 inputs, from ")
    assert 0 < ranked["head.input"]["value"] <= 16


def test_without_the_flag_nothing_is_ranked(trained, call):
    rows = call("measure", trained, "--json").json["records"]
    assert not [row for row in rows if row["measure"] == "partial_jacobian_rank"]


def test_no_inputs_are_refused_before_measuring(trained, call):
    done = call("measure", trained, "--function-rank", "0")
    assert done.code == 1
    assert done.err == "deepcollapse: --function-rank takes a number of inputs, at least 1; got 0.\n"
    assert done.out == ""
