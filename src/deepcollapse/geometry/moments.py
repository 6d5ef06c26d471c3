"""Class moments: count, mean and scatter of each class, the one value that carries all that the data said.

They are gathered by `deepcollapse.geometry.running`, and everything else in `geometry` is a function of them, of the
classifier, or of a second look at the features with finished means.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import safetensors
import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from safetensors.torch import save_file
from torch import Tensor

from deepcollapse.errors import DataFileError, MergeError, OptionError, ScatterLevelError, TooFewClassesError
from deepcollapse.linalg import principal_span

Weighting = Literal["class", "sample"]
ScatterLevel = Literal["none", "pooled", "class_weighted", "per_class"]
SCATTER_LEVELS: tuple[str, ...] = get_args(ScatterLevel)
FORMAT_VERSION = "1"


@dataclass(frozen=True)
class SpanScatter:
    r"""Within-class scatter seen in the span of the class means, whitened by the between-class scatter.

    With Sigma_B = U diag(s^2) U^T and q = diag(1/s) U^T (h - mu_y): `trace` (C,) holds sum_i |q_i|^2 of each class, and
    `matrix` (k, k), where it was asked for, sum_c pi_c/n_c sum_i q_i q_i^T, whose eigenvalues are those of
    Sigma_W Sigma_B^+. Dimensionless. It belongs to one `weighting` and one `centre`, those of Sigma_B.
    """

    weighting: Weighting
    centre: Weighting
    trace: Float64[Tensor, " c"]
    matrix: Float64[Tensor, "k k"] | None = None


@dataclass(frozen=True)
class ClassMoments:
    r"""Count, mean and scatter about the mean of each class, in float64.

    Attributes:
        count: (C,) samples of each class.
        mean: (C, d) class means mu_c, in the features' unit; the row of an absent class is 0 and is never used.
        trace: (C,) sum_i |h_i - mu_c|^2 of each class, in the features' unit squared.
        level: what `scatter` holds. "none": nothing. "pooled": (d, d), sum_c S_c. "class_weighted": (d, d),
            sum_c S_c / n_c with the counts known beforehand (`class_counts`). "per_class": (C, d, d), every S_c.
            S_c = sum_i (h_i - mu_c)(h_i - mu_c)^T over class c.
        class_counts: (C,) the counts that "class_weighted" was promised; None otherwise.
        span: scatter in the span of the means, from a second look at the features (`look_again`).
        dtype: the coarsest precision that features came in; it puts a floor under NC1 (`rounding_floor`).
        ignored: samples without a label (the ignore-index). skipped: samples left out as NaN or infinite.

    Moments of disjoint data merge exactly, in any order: `a.merge(b)`. Means over classes run over the classes that
    are present, C' of them. `weighting` and `centre` say how classes count: "class" equally (pi_c = 1/C', and the
    centre is the mean of class means), "sample" by their samples (pi_c = n_c/N, the mean of all samples).

    >>> from deepcollapse import collect
    >>> moments = collect(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]), num_classes=3)
    >>> moments.count.tolist(), moments.mean.tolist(), moments.trace.tolist()
    ([2, 1, 0], [[1.0], [5.0], [0.0]], [2.0, 0.0, 0.0])
    """

    count: Int64[Tensor, " c"]
    mean: Float64[Tensor, "c d"]
    trace: Float64[Tensor, " c"]
    scatter: Float64[Tensor, "..."] | None = None
    level: ScatterLevel = "none"
    class_counts: Int64[Tensor, " c"] | None = None
    span: SpanScatter | None = None
    dtype: torch.dtype = torch.float64
    ignored: int = 0
    skipped: int = 0

    # --- what is there -------------------------------------------------------------------------------------------

    @property
    def num_classes(self) -> int:
        """C, absent classes included."""
        return len(self.count)

    @property
    def dim(self) -> int:
        """d, the length of one feature vector."""
        return self.mean.shape[1]

    @cached_property
    def present(self) -> Bool[Tensor, " c"]:
        """Which classes have samples, (C,)."""
        return self.count > 0

    @cached_property
    def num_present(self) -> int:
        """C', the number of classes that have samples."""
        return int(self.present.sum())

    @cached_property
    def num_samples(self) -> int:
        """N, over all classes."""
        return int(self.count.sum())

    @cached_property
    def balanced(self) -> bool:
        """Whether all present classes have equally many samples, so that both weightings agree."""
        return len(self.count[self.present].unique()) <= 1

    # --- views: all over present classes ---------------------------------------------------------------------------

    def class_means(self) -> Float64[Tensor, "p d"]:
        """The means mu_c of the present classes, (C', d)."""
        return self.mean[self.present]

    def class_weights(self, weighting: Weighting = "class") -> Float64[Tensor, " p"]:
        """The weights pi_c of the present classes, (C',), sum 1. Raises TooFewClassesError below two classes."""
        if weighting not in get_args(Weighting):
            raise OptionError(f"weighting must be 'class' or 'sample'; got {weighting!r}.")
        if self.num_present < 2:
            raise TooFewClassesError(
                f"{self.num_present} of {self.num_classes} classes have samples; "
                "the geometry of classes needs at least two. Check the labels, or measure more data."
            )
        count = self.count[self.present].double()
        return count / count.sum() if weighting == "sample" else torch.full_like(count, 1 / len(count))

    def global_mean(self, centre: Weighting = "class") -> Float64[Tensor, " d"]:
        """mu_G: the mean of class means ("class") or of all samples ("sample"), (d,)."""
        weights, means = self.class_weights(centre), self.class_means()
        # About one of the means, so that a common shift of all features costs no digits.
        return means[0] + weights @ (means - means[0])

    def centred_means(self, centre: Weighting = "class") -> Float64[Tensor, "p d"]:
        """Z: the present classes' means minus the global mean, (C', d)."""
        return self.class_means() - self.global_mean(centre)

    def class_variances(self) -> Float64[Tensor, " p"]:
        """v_c, the mean squared distance to the class mean (divided by n_c), (C',)."""
        return self.trace[self.present] / self.count[self.present]

    def within_trace(self, weighting: Weighting = "class") -> Float64[Tensor, ""]:
        """tr Sigma_W = sum_c pi_c v_c."""
        return self.class_weights(weighting) @ self.class_variances()

    def between_trace(self, weighting: Weighting = "class", centre: Weighting | None = None) -> Float64[Tensor, ""]:
        """tr Sigma_B = sum_c pi_c |mu_c - mu_G|^2."""
        return self.class_weights(weighting) @ self.centred_means(centre or weighting).square().sum(dim=1)

    def between_span(
        self, weighting: Weighting = "class", centre: Weighting | None = None
    ) -> tuple[Float64[Tensor, "d k"], Float64[Tensor, " k"]]:
        """U and s with Sigma_B = U diag(s^2) U^T: k <= min(C'-1, d) directions, never a d x d matrix."""
        weights, centred = self.class_weights(weighting), self.centred_means(centre or weighting)
        size = float((weights @ self.class_means().square().sum(dim=1)).sqrt())
        return principal_span(centred, weights, max_rank=min(len(weights) - 1, self.dim), size=size)

    def between_scatter(
        self, weighting: Weighting = "class", centre: Weighting | None = None
    ) -> Float64[Tensor, "d d"]:
        """Sigma_B, (d, d)."""
        centred = self.centred_means(centre or weighting)
        return centred.T @ (self.class_weights(weighting)[:, None] * centred)

    def within_scatter(self, weighting: Weighting = "class") -> Float64[Tensor, "d d"]:
        """Sigma_W, (d, d). Raises ScatterLevelError where the scatter that was kept cannot give this weighting."""
        weights, present = self.class_weights(weighting), self.present
        if self.level == "per_class" and self.scatter is not None:
            return torch.einsum("c,cij->ij", weights / self.count[present], self.scatter[present])
        fits = {"pooled": "sample", "class_weighted": "class"}.get(self.level)
        if self.scatter is None or not (fits == weighting or (fits and self.balanced)):
            raise ScatterLevelError(self._too_little(weighting))
        if self.level == "pooled":
            return self.scatter / self.num_samples
        self._check_promise()
        return self.scatter / self.num_present

    def total_scatter(self, weighting: Weighting = "class") -> Float64[Tensor, "d d"]:
        """Sigma_T = Sigma_W + Sigma_B, the covariance about mu_G, (d, d)."""
        return self.within_scatter(weighting) + self.between_scatter(weighting)

    def feature_spectrum(self, *, centred: bool) -> Float64[Tensor, " d"]:
        """Singular values of the (N, d) features, about the mean of all samples or (`centred=False`) about zero, (d,).

        They come from the d x d scatter, so those below sqrt(d eps) of the largest (1e-7 or so) are rounding and are
        given as 0. Needs scatter "pooled" or "per_class" (ScatterLevelError otherwise).
        """
        shift = self.global_mean("sample") if centred else torch.zeros_like(self.mean[0])
        rows = self.class_means() - shift
        within = self.within_scatter("sample") * self.num_samples
        gram = within + rows.T @ (self.count[self.present].double()[:, None] * rows)
        eigenvalues = torch.linalg.eigvalsh(gram).flip(0)
        noise = self.dim * torch.finfo(torch.float64).eps * eigenvalues[0]
        return torch.where(eigenvalues > noise, eigenvalues, 0.0).sqrt()

    def _too_little(self, weighting: str) -> str:
        serves = (
            "'per_class', or 'class_weighted' with class_counts" if weighting == "class" else "'pooled' or 'per_class'"
        )
        return (
            f"the {weighting}-weighted within-class scatter needs more than these moments hold "
            f"(scatter={self.level!r}, classes {'balanced' if self.balanced else 'imbalanced'}). "
            f"Collect with scatter={serves}; "
            "for NC1 alone a second look in the span of the class means is enough: look_again(moments, batches)."
        )

    def _check_promise(self) -> None:
        if self.class_counts is not None and not torch.equal(self.class_counts, self.count):
            wrong = (self.class_counts != self.count).nonzero().flatten().tolist()
            raise MergeError(
                f"class-weighted scatter was collected for other class counts than came: class {wrong[0]} was to have "
                f"{int(self.class_counts[wrong[0]])} samples and has {int(self.count[wrong[0]])} "
                f"({len(wrong)} classes differ). Pass the true class_counts, or collect with scatter='per_class'."
            )

    # --- merging -----------------------------------------------------------------------------------------------

    def merge(self, other: "ClassMoments") -> "ClassMoments":
        """The moments of both data sets together, exactly: Chan's update, symmetric in the two.

        Scatter in the span of the means (`span`) belongs to finished means and is dropped. Raises MergeError where
        classes, dimension, level of scatter or promised counts differ.
        """
        self._check_mergeable(other)
        count = self.count + other.count
        # Whole numbers divide in float32: hence the doubles. An empty class keeps mean 0, not NaN.
        share = other.count.double() / count.clamp(min=1)
        shift = other.mean - self.mean
        kappa = self.count * share
        scatter = self.scatter
        if scatter is not None and other.scatter is not None:
            scatter = scatter + other.scatter + outer_products(shift, kappa, self.level, self.class_counts)
        return replace(
            self,
            count=count,
            mean=self.mean + share[:, None] * shift,
            trace=self.trace + other.trace + kappa * shift.square().sum(dim=1),
            scatter=scatter,
            span=None,
            dtype=coarser(self.dtype, other.dtype),
            ignored=self.ignored + other.ignored,
            skipped=self.skipped + other.skipped,
        )

    def _check_mergeable(self, other: "ClassMoments") -> None:
        mine, theirs = (f"{m.num_classes} classes, dimension {m.dim}, scatter={m.level!r}" for m in (self, other))
        if mine != theirs:
            raise MergeError(f"cannot merge moments of {mine} with moments of {theirs}; collect both alike.")
        if self.level == "class_weighted" and not torch.equal(*(_counts(m) for m in (self, other))):
            raise MergeError(
                "cannot merge class-weighted moments that were promised different class_counts; "
                "pass the counts of the whole data set to both."
            )

    def to(self, device: torch.device | str) -> "ClassMoments":
        """The same moments with every tensor on `device`."""
        moved = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved, span=None)

    # --- files ---------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file: tensors and a few words, nothing that can run. `span` is not kept."""
        tensors = {f.name: v.cpu().contiguous() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        words = {"format": "deepcollapse.ClassMoments", "version": FORMAT_VERSION, "level": self.level}
        words |= {"dtype": str(self.dtype).removeprefix("torch.")}
        words |= {"ignored": str(self.ignored), "skipped": str(self.skipped)}
        save_file(tensors, str(path), metadata=words)

    @classmethod
    def load(cls, path: Path | str) -> "ClassMoments":
        """Read what `save` wrote, equal to the bit. Raises DataFileError where the file is something else."""
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                words = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (safetensors.SafetensorError, OSError) as error:
            raise DataFileError(f"{path} cannot be read as class moments: {error}") from error
        if words.get("format") != "deepcollapse.ClassMoments" or words.get("version") != FORMAT_VERSION:
            raise DataFileError(
                f"{path} holds no class moments of version {FORMAT_VERSION}; its header says {words or 'nothing'}. "
                "Write one with ClassMoments.save."
            )
        return cls(
            **tensors,
            level=words["level"],  # pyright: ignore[reportArgumentType]
            dtype=getattr(torch, words["dtype"]),
            ignored=int(words["ignored"]),
            skipped=int(words["skipped"]),
        )


def _counts(moments: ClassMoments) -> Tensor:
    return moments.count if moments.class_counts is None else moments.class_counts


def outer_products(
    rows: Float64[Tensor, "c d"],
    weights: Shaped[Tensor, " c"],
    level: ScatterLevel,
    class_counts: Int64[Tensor, " c"] | None,
) -> Float64[Tensor, "..."]:
    """sum_c weights_c rows_c rows_c^T in the shape that `level` keeps: summed, summed over n_c, or class by class."""
    if level == "per_class":
        return torch.einsum("c,ci,cj->cij", weights.double(), rows, rows)
    if class_counts is not None:
        weights = weights / class_counts.clamp(min=1)
    return rows.T @ (weights.double()[:, None] * rows)


def coarser(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    """Of two floating types the one with the larger spacing.

    >>> coarser(torch.float32, torch.bfloat16)
    torch.bfloat16
    """
    return max(first, second, key=lambda dtype: torch.finfo(dtype).eps)


def scatter_bytes(level: ScatterLevel, num_classes: int, dim: int) -> int:
    """The memory that scatter of this level takes, in bytes.

    >>> scatter_bytes("pooled", num_classes=10, dim=100)
    80000
    """
    matrices = {"none": 0, "pooled": 1, "class_weighted": 1, "per_class": num_classes}[level]
    return 8 * math.prod((matrices, dim, dim))
