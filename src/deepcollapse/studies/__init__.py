"""Papers as commands: each study is one readable file with recipes, measurements, charts and claims.

`find("papyan2020")` gives the study, `reproduce(study, out, scale="laptop")` runs it and judges its claims.
"""

import importlib

from deepcollapse.errors import UnknownNameError
from deepcollapse.networks.checks import suggestion
from deepcollapse.studies.study import SCALES, Scale, Study

# What each study is about, in the words of `deepcollapse list studies`; the module has the study's name.
STUDIES: dict[str, str] = {
    "feng2022": "Feng et al. 2022: rank diminishes with depth, and few dimensions are enough to classify",
    "papyan2020": "Papyan et al. 2020: neural collapse in the terminal phase of training, every figure of the paper",
    "zangrando2024": "Zangrando et al. 2024: rank and within-class variability fall together with weight decay",
    "galanti2022": "Galanti et al. 2022: small batches, large rates and weight decay lower the rank of weights",
    "fang2021": "Fang et al. 2021: classifiers of small classes merge as the imbalance grows",
    "marino2021": "Marinò et al. 2021: pruned and shared weights as Huffman codes, in a hundredth of their space",
    "date2020": "Date et al. 2020: ternary weights, trained one at a time, at par with full precision",
    "sukenik2024": "Súkeník et al. 2024: low rank against deep neural collapse, in its model and in ReLU heads",
}


def find(name: str) -> Study:
    """The study of that name. Raises UnknownNameError where there is none, which suggests close names."""
    if name not in STUDIES:
        known = sorted(STUDIES)
        raise UnknownNameError(
            f"no study is called {name!r}.{suggestion(name, known)} There are {', '.join(known)}; what each is about: "
            "deepcollapse list studies."
        )
    return importlib.import_module(f"deepcollapse.studies.{name}").STUDY


__all__ = ["SCALES", "STUDIES", "Scale", "Study", "find"]
