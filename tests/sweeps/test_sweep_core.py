from dataclasses import replace

from deepcollapse.sweeps import Sweep, SweepFolder, run_sweep
from deepcollapse.training import Recipe

TINY = Recipe(epochs=2, width=8, depth=1, per_class=5, test_per_class=5, measurements=2, rate=0.01)


def test_a_sweep_that_is_run_again_runs_nothing_again(tmp_path):
    sweep = Sweep.grid(TINY, seed=(0, 1))
    first = run_sweep(sweep, tmp_path / "s")
    assert [outcome.state for outcome in first] == ["done", "done"]
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "s").rglob("records.jsonl")}
    run_sweep(Sweep.grid(TINY, seed=(0, 1, 2)), tmp_path / "s")
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    folder = SweepFolder(tmp_path / "s")
    assert [folder.state(replace(TINY, seed=seed)) for seed in (0, 1, 2, 3)] == ["done", "done", "done", "waiting"]
