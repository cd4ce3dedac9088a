"""The progress of a training, as a bar and in the log."""

import logging
from collections.abc import Mapping

from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from stages.run.progress import progress_bar

log = logging.getLogger(__name__)

LOG_LINES = 12  # of a whole run


class Progress(TrainerCallback):
    """A progress bar with figures of each step, silent when nobody watches.

    `shown` names the figures in Trainer's log and their labels. Steps have the first one; the others may be missing.
    With `in_log` some of the steps are also logged.
    """

    def __init__(self, shown: Mapping[str, str], in_log: bool = False) -> None:
        self._shown, self._in_log = shown, in_log

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Draw the bar."""
        self._bar = progress_bar(
            total=state.max_steps, initial=state.global_step, unit="step", hidden=not state.is_world_process_zero
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Move the bar, if the figures are those of a step."""
        if not logs or next(iter(self._shown)) not in logs:
            return
        figures = {label: f"{logs[name]:.3f}" for name, label in self._shown.items() if name in logs}
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(state.global_step - self._bar.n)
        is_due = state.global_step == 1 or state.global_step % max(1, state.max_steps // LOG_LINES) == 0
        if self._in_log and is_due and state.is_world_process_zero:
            said = ", ".join(f"{label} {value}" for label, value in figures.items())
            log.info("step %d/%d: %s", state.global_step, state.max_steps, said)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Close the bar."""
        self._bar.close()
