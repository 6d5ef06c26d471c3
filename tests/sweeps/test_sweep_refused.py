"""What Python callers give in place of a sweep is refused in whole sentences, as they meet it: without type checks."""

import subprocess
import sys

from deepcollapse.sweeps import Sweep
from deepcollapse.training import Recipe

CALLS = {
    'Sweep.grid(R, network="mlp")': ("network is swept over a list of values; got 'mlp' alone. Write network=['mlp']."),
    "Sweep.grid(R, rate=0.1)": "rate is swept over a list of values; got 0.1 alone. Write rate=[0.1].",
    'Sweep.grid(R, rate=["a"])': "rate has the value 'a' in a grid; each must be a number.",
    "Sweep.grid(R, rate=[0.1, None])": "rate has the value None in a grid; each must be a number.",
    "Sweep.grid(R, drops=[0.5])": "drops has the value 0.5 in a grid; each must be a list of numbers.",
    "Sweep.grid(R, rate=[])": "rate is to be swept, and no value was given for it.",
    "Sweep.grid(3, rate=[0.1])": "a grid starts from a recipe, made by Recipe(...); got 3.",
    "Sweep((1,))": "a sweep takes recipes, made by Recipe(...); got 1 among them.",
    "Sweep(R)": "a sweep takes several recipes; got one alone. Write Sweep((recipe,)).",
    "Sweep(1)": "a sweep takes several recipes; got 1 alone. Write Sweep((Recipe(), ...)).",
    "Sweep(())": "a sweep needs at least one recipe; got none.",
    "Sweep((R,), afterwards=3)": "afterwards is the name of a function, as package.module:function; got 3.",
    'run_sweep([R], "s")': "run_sweep takes a sweep; got a list. Write run_sweep(Sweep(tuple(recipes)), out).",
    'run_sweep(R, "s")': "run_sweep takes a sweep; got one recipe. Write run_sweep(Sweep((recipe,)), out).",
    'run_sweep(Sweep((R,)), "s", engine="ray")': (
        "engine is 'ray'; it must be an engine of deepcollapse.sweeps.engines, such as processes.Processes(jobs=4)."
    ),
    'run_sweep(Sweep((R,), afterwards="json:nothing"), "s")': (
        "there is no function 'json:nothing' (module 'json' has no attribute 'nothing'). Write package.module:function."
    ),
}
SCRIPT = """
from deepcollapse.errors import OptionError
from deepcollapse.sweeps import Sweep, run_sweep
from deepcollapse.training import Recipe
R = Recipe()
for call in CALLS:
    try:
        print(eval(call))
    except OptionError as error:
        print(error)
"""


def test_each_wrong_call_is_told_and_leaves_nothing(tmp_path):
    script = f"CALLS = {list(CALLS)!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert dict(zip(CALLS, done.stdout.splitlines(), strict=True)) == CALLS
    assert list(tmp_path.iterdir()) == []


def test_values_may_come_from_any_iterable_and_be_left_out_where_a_setting_may():
    sweep = Sweep.grid(Recipe(width=3), width=(None, 64), rate=(0.1**n for n in (0, 1)), drops=iter([[0.5], ()]))
    assert [(recipe.width, recipe.rate, recipe.drops) for recipe in sweep.recipes] == [
        (width, rate, drops) for width in (None, 64) for rate in (1.0, 0.1) for drops in ((0.5,), ())
    ]
