"""Kills a sweep again and again and goes on with it; a program of its own, which forks so that torch is imported once.

`killing.py times FOLDER POINTS SEED`: ended after random CPU times, by a signal that no handler sees.
`killing.py calls FOLDER POINTS SEED`: SIGKILL right before a file of the sweep is opened, made, moved or removed, the
points spread over all such moments of a whole sweep.

Prints, as JSON, how many were killed, how many of them while measuring what comes after training, and how many sweeps
that were complete in the end differ from an undisturbed one.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from deepcollapse.sweeps import run_sweep
from sweep_extras import swept, tree

MOMENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.truncate"}
RUNS = {"times": 2, "calls": 1}


def attempt(how, out, arrange):
    """One attempt in a process of its own; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            arrange()
            done = all(outcome.state == "done" for outcome in run_sweep(swept(runs=RUNS[how]), out))
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
    """Kill right before the moment of this number; without a number, count them."""
    seen = [0]

    def hook(event, arguments):
        if event in MOMENTS and any(str(out) in os.fspath(a) for a in arguments if isinstance(a, str | Path)):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return seen, lambda: sys.addaudithook(hook)


def measuring_afterwards(out):
    return any((run / "trained.json").exists() and not (run / "done.json").exists() for run in out.glob("runs/*"))


def at_random_times(folder, points, seed, whole, seconds):
    draw, killed, late, differ, number = random.Random(seed), 0, 0, 0, 0
    while killed < points:
        number += 1
        out = folder / f"sweep-{number}"
        while not attempt("times", out, after_cpu_time(draw.uniform(0.01, seconds / 2))):
            killed, late = killed + 1, late + measuring_afterwards(out)
        differ += tree(out) != whole
    return killed, late, differ


def at_calls(folder, points, seed, whole):
    out = folder / "counted"
    seen, arrange = before_call(out, None)
    arrange()
    run_sweep(swept(runs=RUNS["calls"]), out)
    moments = seen[0]
    step = max(1, moments // points)
    killed, late, differ = 0, 0, 0
    for number in range(1 + seed % step, moments + 1, step):
        out = folder / f"call-{number}"
        killed += not attempt("calls", out, before_call(out, number)[1])
        late += measuring_afterwards(out)
        attempt("calls", out, lambda: None)
        differ += tree(out) != whole
    return killed, late, differ


def main(how, folder, points, seed):
    folder = Path(folder)
    run_sweep(swept(runs=1, rate=0.02), folder / "warm")  # what is imported on the way
    start = time.process_time()
    run_sweep(swept(runs=RUNS[how]), folder / "whole")
    seconds = time.process_time() - start
    whole = tree(folder / "whole")
    arguments = (folder, int(points), int(seed), whole)
    killed, late, differ = at_calls(*arguments) if how == "calls" else at_random_times(*arguments, seconds)
    print(json.dumps({"killed": killed, "afterwards": late, "differ": differ, "files": len(whole)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
