"""What T-GRPO does at every step, as parameters."""

from typing import Literal

from pydantic import Field

from stages.data.grading import Strictness
from stages.rl.advantages import Scale
from stages.rl.guards import Guards
from stages.rl.loss import LossParams
from stages.rl.mismatch import CorrectionMode
from stages.rl.questions import Contrast
from stages.rl.rewards import RewardParams
from stages.rl.server_pool import RolloutServers
from stages.rl.temporal import MODES, Compared
from stages.run.params import LARGEST_SEED

WITHOUT_RESPONSES = ", ".join(name for name, mode in MODES.items() if not mode.needs_responses)


class StepParams(RewardParams):
    """The recipe of one step; the defaults are the paper's (paper.md §2)."""

    group_size: int = Field(default=8, ge=2, description="responses to each question on frames in order, G")
    contrast_size: int = Field(
        default=4,
        ge=0,
        description="responses to each video question on contrast frames, G̃; 0 only for the values of temporal that "
        f"compare no answers ({WITHOUT_RESPONSES}): p_contrast and answers_change are then empty",
    )
    contrast: Contrast = Field(
        default="shuffle",
        description="shuffle (a new order at each step), reverse, or single-frame (one frame repeated)",
    )
    faithfulness_every: int = Field(
        default=0,
        ge=0,
        description="optimizer steps between two measurements of faithfulness: likelihood_gain, answer_gain and "
        "thought_gain of every response, and answers_change, which asks the model again behind exchanged thoughts; 0: "
        "never",
    )
    grading: Strictness = Field(
        default="default",
        description="how strictly answers and format are graded; reference-code grades as the released code does",
    )
    scale: Scale = Field(
        default="group",
        description="what the centred rewards are divided by: the std of the group (the paper) or of the batch, 1 "
        "(none, as in Dr. GRPO), or a moving average of the std for each answer type (ema)",
    )
    ema_decay: float = Field(
        default=0.9, ge=0, lt=1, description="weight of the past in the moving average of scale ema"
    )
    loss: LossParams = Field(default=LossParams(), description="the policy loss")
    updates_per_rollout: int = Field(
        default=1, ge=1, description="optimizer steps on the same responses, before new ones are sampled"
    )
    dynamic_sampling: Literal["off", "skip", "resample"] = Field(
        default="off",
        description="groups whose rewards are all equal: train on them (off), leave them out (skip), or first ask "
        "other questions in their place (resample, as in DAPO)",
    )
    resample_rounds: int = Field(
        default=3,
        ge=1,
        description="how often resample asks other questions; groups that still have equal rewards are left out",
    )
    max_new_tokens: int = Field(
        default=768, ge=1, description="tokens after which a response is cut off, its end token included"
    )
    rollout_rows: int | None = Field(
        default=None,
        ge=1,
        description="most responses that a process decodes at once; null: all of a step. The next question takes the "
        "place of responses that have ended",
    )
    rollout: RolloutServers | None = Field(
        default=None, description="vLLM servers that draw the responses, for training with adapters; null: this process"
    )
    temperature: float = Field(default=1.0, gt=0, description="temperature of sampling and of scoring")
    top_p: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="sampling keeps the likeliest tokens that together reach this probability; scoring does not cut",
    )
    freeze_vision: bool = Field(
        default=False, description="do not train the vision tower; each clip is then encoded once per step"
    )
    guards: Guards = Field(default=Guards(), description="thresholds that stop a run which has gone wrong")
    seed: int = Field(
        default=42,
        ge=0,
        le=LARGEST_SEED,
        description="seed of the order of questions and of everything that is sampled",
    )

    @property
    def correction(self) -> CorrectionMode:
        """How the loss is corrected for the policy that sampled."""
        return self.loss.importance_sampling_mode or ("off" if self.rollout is None else "token_truncate")

    @property
    def uses_contrast(self) -> bool:
        """Whether any step shows the questions on contrast frames."""
        return self.contrast_size > 0 or self.mode.compares == "likelihood" or self.faithfulness_every > 0

    def measures_faithfulness(self, step: int) -> bool:
        """Whether faithfulness is measured at a step; the first step is 0."""
        return self.faithfulness_every > 0 and step % self.faithfulness_every == 0

    def compared(self, step: int) -> set[Compared]:
        """What of the responses is compared with contrast frames at a step."""
        compared: set[Compared] = {self.mode.compares}
        if self.measures_faithfulness(step):
            compared |= {"likelihood", "thoughts"} if self.contrast_size else {"likelihood"}
        return compared
