"""What `compress` prints, from records alone and without any search."""

from types import SimpleNamespace

import pytest
import rich.console
import torch
from torch import nn

from deepcollapse.cli.compressed import announce, show
from deepcollapse.cli.progress import tried
from deepcollapse.compression.files import export_network
from deepcollapse.compression.search import Candidate
from deepcollapse.records import Record, Run
from deepcollapse.records.record import ORIGINAL

KEPT = "factors of rank 9 would take as much as the layer's 8 x 16 weights: keep it"


@pytest.fixture(autouse=True)
def eighty(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def made(path, *, method="low-rank", changed=True, after=1.0e-3):
    """A compressed run of two layers whose passes take `after` seconds, and 1 ms before."""
    facts = {"method": method, "met": changed, "outcome": "So it is.", "setting": "s"}
    extra = {"compression": facts}
    run = Run.create(path, recipe={}, class_names=("a",), data_digest={}, device="cpu", seed=0, extra=extra)
    rows = []
    for measure, value in {"stored_bytes": (100.0, 50.0), "latency_of_1": (1.0e-3, after)}.items():
        rows.append(Record(layer="network", measure=measure, value=value[0], baseline=ORIGINAL))
        rows.append(Record(layer="network", measure=measure, value=value[1], note="s"))
    for layer in ("blocks.0", "blocks.1"):
        rows.append(Record(layer=layer, measure="proposed_rank", value=8, note=KEPT))
        rows.append(Record(layer=layer, measure="rank_at_one_percent_weight", value=9, baseline=ORIGINAL))
        if changed:
            rows.append(Record(layer=layer, measure="stored_bytes", value=50, baseline=ORIGINAL))
            rows.append(Record(layer=layer, measure="stored_bytes", value=25, note="rank 4"))
    run.append(rows)
    if changed:
        (run.path / "compressed.safetensors").write_bytes(b"")
    return run


def shown(run, capsys):
    show(run, run.path / "report.html")
    return " ".join(capsys.readouterr().out.split())


def test_low_rank_says_what_the_spectra_say_once_and_why_less_was_taken(tmp_path, capsys):
    told = shown(made(tmp_path / "r"), capsys)
    assert "blocks.0-1: factors of rank 9 would take as much as the layers' 8 x 16 weights: keep them. Ranks" in told
    assert (
        "Ranks lower than proposed, which give up some of the 99.9 %, were taken because the accuracy on the samples "
        "it was chosen by allowed it." in told
    )
    assert "ms for a batch of 1 1 1 no clear difference So it is. Network: " in told


def test_other_methods_get_no_advice_on_ranks(tmp_path, capsys):
    told = shown(made(tmp_path / "r", method="coded"), capsys)
    assert "rank, " not in told
    assert "keep" not in told
    assert "blocks.0 50 25 rank 4 blocks.1 50 25 rank 4" in told


def test_only_a_pass_that_takes_clearly_longer_is_worth_a_word(tmp_path, capsys):
    slower = "A batch of 1 takes longer than before: dense layers win there, and what is gained is size."
    assert slower not in shown(made(tmp_path / "near", after=1.2e-3), capsys)
    assert slower in shown(made(tmp_path / "far", after=1.3e-3), capsys)


def test_where_nothing_changed_there_is_no_network_and_no_time(tmp_path, capsys):
    told = shown(made(tmp_path / "r", changed=False, after=9.0e-3), capsys)
    assert "ms for" not in told
    assert "takes longer" not in told
    assert told.endswith(f"So it is. Page: {tmp_path / 'r' / 'report.html'}")


def test_an_exported_network_is_named_with_what_it_takes(tmp_path, capsys):
    run = made(tmp_path / "r")
    export_network(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, 2, 2), run.path / "compressed.pt2")
    assert (
        f"Network: {run.path / 'compressed.safetensors'} For torch.export.load: {run.path / 'compressed.pt2'} (takes "
        "torch.float32 of shape (samples, 3, 2, 2), standardised) Page: "
    ) in shown(run, capsys)


@pytest.mark.parametrize(("method", "fine_tune", "work"), [
    ("low-rank", 1, "At most 17 networks are tried. "),
    ("coded", 0, "At most 11 networks are tried. "),
    ("low-rank+hac", 2, "At most 28 networks are tried; those with shared values are trained on for 2 epochs, twice. "),
    ("ternary", 1, "At most 1 network is tried; ternary weights are searched for up to 60 s. "),
])  # fmt: skip
def test_beforehand_it_is_said_how_much_work_there_is(method, fine_tune, work, capsys):
    splits = SimpleNamespace(train=SimpleNamespace(name="digits"), test=object())
    how = {"method": method, "fine_tune": fine_tune, "seconds": 60.0, "target": "at most 10 %"}
    job = SimpleNamespace(splits=splits, needs_more=False, **how)
    announce(job, "runs/it", "as drawn")  # pyright: ignore[reportArgumentType]
    told = " ".join(capsys.readouterr().out.split())
    assert told.endswith(f"Networks are chosen by half the test samples. {work}The best is measured at the end.")


def test_a_terminal_counts_what_was_tried(monkeypatch):
    told = []

    class Status:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, text):
            told.append(text)

    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    monkeypatch.setattr(rich.console.Console, "status", lambda *_: Status())
    with tried(quiet=False) as watch:
        for setting in ("original", "half", "a tenth"):
            watch(candidate(setting))
    assert told == [
        "original: 1,000 bytes, 90.00% right",
        "Tried 1; last half: 1,000 bytes, 90.00% right",
        "Tried 2; last a tenth: 1,000 bytes, 90.00% right",
    ]


def candidate(setting):
    return Candidate(setting, nn.Identity(), 0.9, 1000, 1, 1)
