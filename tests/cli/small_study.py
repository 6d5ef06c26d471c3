"""The recipes of studies that tests of commands make up."""

from dataclasses import replace


def recipes_of(tiny):
    """For a scale, this recipe on each of its data sets with each network and seed."""

    def recipes(scale):
        return [
            replace(tiny, dataset=dataset, network=network, seed=seed)
            for dataset in scale.datasets
            for network in scale.networks
            for seed in scale.seeds
        ]

    return recipes
