import pytest
import torch
from torch import nn

from deepcollapse.cli.verify import _narrow
from deepcollapse.compression.coded_layers import code_layers
from deepcollapse.compression.files import save_compressed
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.records import Run

PLAIN = "compressed.safetensors"


def network(names=("first", "second")):
    """Layers of few values, one below the other."""
    torch.manual_seed(0)
    layers = {name: nn.Linear(32, 32) for name in names}
    with torch.no_grad():
        for layer in layers.values():
            layer.weight.copy_((torch.rand(32, 32) < 0.3) * torch.randint(1, 4, (32, 32)))
    return nn.ModuleDict(layers)


def coded(path, names=("first", "second"), form="hac"):
    made = code_layers(network(names), list(names), form=form)  # pyright: ignore[reportArgumentType]
    return save_compressed(made, names, path)


def run_at(path, **extra):
    run = Run.create(path, recipe={}, class_names=("a",), data_digest={}, device="cpu", seed=0, extra=extra)
    return run.path


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_of_sound_containers_it_says_what_was_checked(tmp_path, call):
    file = coded(tmp_path / "net.safetensors")
    facts = call("compress", "verify", file, "--json").json["containers"]
    total, least = sum(one["size"] for one in facts), sum(one["entropy_bits"] for one in facts) / 8
    done = call("compress", "verify", file)
    assert done.code == 0
    *table, told, more = done.out.splitlines() if done.out.count("\n") else []
    text = " ".join(f"{told} {more}".split())
    assert text == (
        f"2 containers of {file} are sound; each decodes to one matrix and to nothing else. Together they take "
        f"{total:,} bytes; their symbols alone, written one by one, need at least {least:,.0f} (entropy)."
    )
    assert [line.split()[:3] for line in table if line.strip().startswith(("first", "second"))] == [
        ["first", "hac", "32x32"], ["second", "hac", "32x32"],
    ]  # fmt: skip


@pytest.mark.usefixtures("wide")
def test_of_one_container_it_speaks_of_one(tmp_path, call):
    file = coded(tmp_path / "net.safetensors", names=("only",))
    told = call("compress", "verify", file).out.splitlines()[-1]
    assert told == f"The container of {file} is sound; it decodes to one matrix and to nothing else."


@pytest.mark.usefixtures("wide")
def test_of_a_file_without_codes_it_says_nothing_of_codes(tmp_path, call):
    net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    made = truncate(net, {"0": 2}, how="weights").network
    file = save_compressed(made, ("0",), tmp_path / PLAIN)
    done = call("compress", "verify", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{file} is sound: its header and every tensor are what was written. No layer in it is coded.\n"
    )


def test_the_table_fits_eighty_columns_with_long_names_and_forms(tmp_path, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ("encoder_of_the_network", "a" * 20)
    made = code_layers(network(names), list(names), form="delta-huffman")
    out = call("compress", "verify", save_compressed(made, names, tmp_path / "net.safetensors")).out
    table = out.split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert len([line for line in table if "delta-huffman" in line and "32x32" in line]) == 2


def test_long_names_are_broken_at_their_dots():
    assert _narrow("blocks.0.linear") == "blocks.0.linear"
    assert _narrow("encoder.layers.10.attention.self.query") == "encoder.layers.10.\n  attention.self.\n  query"
    assert _narrow("a" * 30) == "a" * 30


def test_what_is_no_compressed_file_is_called_what_it_is(tmp_path, call):
    def error(path):
        done = call("compress", "verify", path)
        assert (done.code, done.out) == (1, "")
        return done.err

    nowhere = tmp_path / "nowhere"
    assert error(nowhere) == (
        f"deepcollapse: there is no file or folder {nowhere}. Name compressed.safetensors, or the run folder that it "
        "lies in.\n"
    )
    plain = run_at(tmp_path / "plain")
    assert error(plain) == (
        f"deepcollapse: {plain} is a run that is not compressed: it holds no compressed.safetensors. Compress it with: "
        f"deepcollapse compress {plain}\n"
    )
    missed = run_at(tmp_path / "missed", compression={"met": False})
    assert error(missed) == (
        f"deepcollapse: {missed} holds no compressed.safetensors: nothing that was tried kept to the target. Compress "
        "to another one.\n"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error(empty) == (
        f"deepcollapse: there is no compressed.safetensors in the folder {empty}. Name the run folder of a compressed "
        "network.\n"
    )


def test_help_calls_the_command_as_it_is_called_and_fits(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = call("compress", "verify", "--help").out
    assert out.splitlines()[0] == "usage: deepcollapse compress verify [-h] FILE [--json]"
    assert max(map(len, out.splitlines())) <= 80
