"""Kills a sweep again and again and goes on with it; a program of its own, which forks so that torch is imported once.

`killing.py times FOLDER POINTS`: ended after random CPU times, by a signal that no handler sees; the engines in turn.
`killing.py calls FOLDER`: SIGKILL right before a file of the sweep is moved into place, cut or removed, once for each
name that such a file has, with each engine.

Prints, as JSON, how many were killed, how many of them while measuring what comes after training, and how many sweeps
that were complete in the end differ from an undisturbed one in one process.
"""

import json
import os
import random
import re
import signal
import sys
import time
import traceback
from pathlib import Path

from deepcollapse.sweeps import run_sweep
from deepcollapse.sweeps.engines.choose import Automatic
from deepcollapse.sweeps.engines.in_process import InProcess
from sweep_extras import swept, tree

MOMENTS = {"os.rename", "os.remove", "os.truncate"}
ENGINES = (Automatic(), InProcess())
SWEEPS = {"times": swept(runs=2), "calls": swept(runs=2, epochs=1)}  # two of one make, which are worth a stack


def attempt(sweep, engine, out, arrange=lambda: None):
    """One attempt in a process of its own; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            arrange()
            done = all(outcome.state == "done" for outcome in run_sweep(sweep, out, engine=engine))
            os._exit(0 if done else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"went wrong by itself: {status}"
    return not os.WIFSIGNALED(status)


def after_cpu_time(seconds):
    return lambda: signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends a process that did not ask for it


def before_call(out, number):
    """Kill right before the moment of this number; without a number, list what they are about."""
    seen = []

    def hook(event, arguments):
        if event in MOMENTS and str(out) in (path := os.fspath(arguments[0])):
            name = "an array" if "/arrays/" in path else re.sub(r"[0-9]+", "N", Path(path).name)
            seen.append((event, name))
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return seen, lambda: sys.addaudithook(hook)


def measuring_afterwards(out):
    return any((run / "trained.json").exists() and not (run / "done.json").exists() for run in out.glob("runs/*"))


def at_random_times(sweep, folder, whole, seconds, points):
    draw, killed, late, differ, number = random.Random(0), 0, 0, 0, 0
    while killed < int(points):
        number += 1
        out, engine = folder / f"sweep-{number}", ENGINES[number % 2]
        while not attempt(sweep, engine, out, after_cpu_time(draw.uniform(0.01, seconds / 2))):
            killed, late = killed + 1, late + measuring_afterwards(out)
        differ += tree(out) != whole
    return killed, late, differ


def at_calls(sweep, folder, whole, engine):
    out = folder / f"counted-{type(engine).__name__}"
    seen, arrange = before_call(out, None)
    arrange()
    run_sweep(sweep, out, engine=engine)
    assert tree(out) == whole
    last = {what: number for number, what in enumerate(seen, 1) if not what[1].endswith(".txt")}  # of failures
    killed, late, differ = 0, 0, 0
    for number in last.values():
        out = folder / f"call-{type(engine).__name__}-{number}"
        killed += not attempt(sweep, engine, out, before_call(out, number)[1])
        late += measuring_afterwards(out)
        attempt(sweep, engine, out)
        differ += tree(out) != whole
    return killed, late, differ


def main(how, folder, *points):
    folder, sweep = Path(folder), SWEEPS[how]
    for engine in ENGINES:  # what is imported on the way
        run_sweep(swept(runs=2, rate=0.02), folder / f"warm-{type(engine).__name__}", engine=engine)
    start = time.process_time()
    run_sweep(sweep, folder / "whole")
    seconds = time.process_time() - start
    whole = tree(folder / "whole")
    if how == "times":
        told = at_random_times(sweep, folder, whole, seconds, *points)
    else:
        told = [sum(each) for each in zip(*(at_calls(sweep, folder, whole, engine) for engine in ENGINES), strict=True)]
    print(json.dumps(dict(zip(("killed", "afterwards", "differ"), told, strict=True)) | {"files": len(whole)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
