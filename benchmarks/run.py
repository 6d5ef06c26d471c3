"""Run benchmarks: `python3 dev.py bench [NAME] [--json] [--size small|full] [--threads N]`; all of them without a NAME.

A benchmark is a module here with `run(size, threads) -> dict` of plain numbers and `table(result) -> str`. Numbers
are ratios of things measured in turn in one run, so that they mean the same on a slow or a busy machine.
"""

import argparse
import importlib
import json
import sys

from timing import machine

NAMES = {
    "one_layer": "counts, means, traces and NC1 to NC4 of one feature layer, beside two plain matrix products",
    "overhead": "what measuring adds to a bare forward pass",
    "growth": "how both grow with samples, classes and dimension",
    "layer_peeled": "the layer-peeled model up to 100,000 classes, and 100 different counts, beside CVXPY",
    "deep_descent": "descent on the deep model from 64 seeds at once, beside loops over them",
    "storage_size": "bytes of pruned and quantised layers, beside sparse columns, gzip, zstd, entropy",
    "coded_product": "products straight from coded weights, beside scipy's sparse and torch's dense ones",
    "truncated_layer": "a layer of lower rank beside the dense one: where it is faster, and where not",
    "ternary_trials": "trials of single ternary weights, batched and compiled, beside forward passes",
    "sweep_overhead": "what a sweep adds to the training of its runs, and what its worker processes take",
    "stacked_training": "32 small networks trained as one program, beside one by one and beside two processes",
    "measuring_share": "what measuring adds to training beyond the evaluation that any run does",
}
SIZES = ("full", "small", "tiny")


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for and print a table, or one JSON object."""
    listed = "\n".join(f"  {name:<12} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench", epilog=listed, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help="one of those below; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of tables")
    parser.add_argument("--size", choices=SIZES, default="full", help="small: seconds; tiny: only to see that it runs")
    # On one thread CPU time is work; idle threads of a pool spin, and their spinning would count as time.
    parser.add_argument("--threads", type=int, default=1, help="compute threads (default 1)")
    options = parser.parse_args(arguments)
    names = [options.name] if options.name else list(NAMES)
    results = {"machine": machine(options.threads)}
    if not options.json:
        print(*(f"{key} {value}" for key, value in results["machine"].items()), sep=", ", flush=True)
    for name in names:
        benchmark = importlib.import_module(name)
        results[name] = benchmark.run(options.size, options.threads)
        if not options.json:
            print(f"\n{name}: {NAMES[name]}\n{benchmark.table(results[name])}", flush=True)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
