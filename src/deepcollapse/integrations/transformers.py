"""Neural collapse after every evaluation of the transformers Trainer, by a run of our own over the same data."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deepcollapse.errors import UnknownNameError
from deepcollapse.integrations.extras import missing_extra
from deepcollapse.measurement import Measurement, measure
from deepcollapse.measurement.measurement import PAPYAN

try:
    from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
    from transformers.training_args import TrainingArguments
except (ImportError, RuntimeError, OSError) as error:
    raise missing_extra("NeuralCollapseTrainerCallback", "transformers", "hf", error) from error

EVALUATION = partial(measure, split="eval")


class NeuralCollapseTrainerCallback(TrainerCallback):
    """Measures the network over the evaluation data, and adds the numbers to the metrics of `Trainer.evaluate`.

    They are in what `evaluate` returns, under its prefix ("eval_within_class_variability"), so they may serve as
    `metric_for_best_model`, and in `state.log_history`. The Trainer hands no batches to callbacks and has sent its log
    off by then: the network runs over the data once more. The last `Measurement` is `callback.measurement`, None before
    the first. On several devices the numbers are those of all data together, in which the loader may repeat samples.

    Args:
        measure: (network, batches) -> Measurement; `partial(deepcollapse.measure, layers="*.layer.*")` passes options.
        log: measures to add, at the head's input or the network, or pairs (measure, layer); those absent are left out.

    >>> NeuralCollapseTrainerCallback(measure=partial(measure, head="classifier")).measurement is None
    True
    """

    def __init__(
        self,
        *,
        measure: Callable[..., Measurement] = EVALUATION,
        log: Sequence[str | tuple[str, str]] = PAPYAN,
    ) -> None:
        self.measure, self.names = measure, tuple(log)
        self.measurement: Measurement | None = None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure the network over the data that was just evaluated."""
        network, batches, metrics = (kwargs.get(name) for name in ("model", "eval_dataloader", "metrics"))
        if network is None or batches is None:
            return
        distributed = {"distributed": True} if args.world_size > 1 else {}
        self.measurement = self.measure(network, batches, **distributed)
        metrics = {} if metrics is None else metrics
        prefix = next((key.removesuffix("runtime") for key in metrics if key.endswith("_runtime")), "eval_")
        found = {}
        for key in self.names:
            name = key if isinstance(key, str) else f"{key[1]}_{key[0]}"
            try:
                found[prefix + name] = self.measurement[key]
            except UnknownNameError:
                continue  # measures of a head, where there is none
        metrics |= found
        if state.is_world_process_zero:
            state.log_history.append(found | {"epoch": state.epoch, "step": state.global_step})
