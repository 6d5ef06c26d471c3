"""What `deepcollapse measure` measures: the network of a run, or one that is named, and where its weights are from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import RunError
from deepcollapse.records import Run
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from deepcollapse.training.data import Splits

# The file of a compressed network's run; a plain name here, since its own module takes a second to import.
COMPRESSED = "compressed.safetensors"
# What is known of a network that was trained elsewhere; how it was trained is not.
KNOWN = ("dataset", "per_class", "test_per_class", "standardise", "network", "parameters", "seed")


@dataclass(frozen=True)
class Subject:
    """A network with its data, as a recipe, and its weights; `run` is the folder it was trained in, if it was here."""

    recipe: Recipe
    weights: Path | None
    pretrained: bool
    run: Path | None

    @classmethod
    def find(cls, name: str, weights: Path | None, pretrained: bool, changes: Mapping[str, Any]) -> "Subject":
        """From a run's folder or a network's name. Raises RunError for a run that has no weights yet."""
        if not (Path(name) / "recipe.toml").is_file():
            return cls(replace(Recipe(network=name), **changes), weights, pretrained, None)
        run = Run.open(name)
        if "compression" in run.provenance:
            return cls._compressed(run, weights, changes)
        found = run.path / "weights.safetensors" if weights is None else weights
        if measured := run.provenance.get("measured"):
            raise RunError(f"{run.path} holds measurements of {measured}, and no network. Name {measured} itself.")
        if not found.is_file():
            raise RunError(
                f"there are no weights at {found}. If training has not ended yet, go on with "
                f"deepcollapse train --resume --out {run.path}; or name other weights with --weights."
            )
        return cls(replace(Recipe.from_mapping(run.recipe), **changes), found, pretrained, run.path)

    @classmethod
    def _compressed(cls, run: Run, weights: Path | None, changes: Mapping[str, Any]) -> "Subject":
        """A compressed network, whose file says what stands in place of which layer."""
        if weights is not None:
            raise RunError(
                f"{run.path} holds a compressed network, which has its own weights; leave --weights out, or name "
                f"{run.provenance['compressed']} itself."
            )
        recipe = replace(Recipe.from_mapping(run.recipe), **changes)
        return cls(recipe, run.path / COMPRESSED, False, run.path)

    @property
    def origin(self) -> str:
        """Where the weights are from, in words: nobody should take a network's first weights for trained ones."""
        if self.weights is not None:
            return str(self.weights)
        if self.pretrained:
            return "as published"
        if self.recipe.network.startswith(("timm:", "torchvision:")) or ":" not in self.recipe.network:
            return "untrained, as drawn at first; name trained ones with --weights"
        return f"as {self.recipe.network} gave them; name others with --weights"

    def load(self, splits: "Splits", *, decoded: bool = False) -> "nn.Module":
        """The network with its weights; the seed decides those that are drawn. Coded layers are decoded where asked."""
        import torch

        from deepcollapse.networks import load_network

        torch.manual_seed(self.recipe.seed)
        compressed = self.weights is not None and self.weights.name == COMPRESSED
        network = load_network(
            self.recipe.network,
            num_classes=None if self.pretrained else len(splits.class_names),
            image_shape=splits.train.image_shape,
            weights=None if compressed else self.weights,
            pretrained=self.pretrained or None,
            **self.recipe.network_parameters(),
        )
        if not compressed:
            return network
        from deepcollapse.compression import coded_layers, files

        assert self.weights is not None
        network = files.load_compressed(network, self.weights)
        return coded_layers.decoded(network) if decoded else network

    def facts(self) -> dict[str, Any]:
        """The recipe, as far as it is known."""
        recipe = self.recipe.to_mapping()
        return recipe if self.run else {name: value for name, value in recipe.items() if name in KNOWN}
