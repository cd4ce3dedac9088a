"""This project's way to make the step."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from speed.tgrpo_step.cases import CONTRAST, STOP_EVERY, TOP_P, VOCABULARY, Case, question
from speed.tgrpo_step.cost import Cost
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.vision import pixel_media
from stages.rl.loss import LossParams, StepSize, policy_loss
from stages.rl.rollout import Group, RolloutQuestion, roll_out
from stages.rl.scoring import pack, score, use_group_prefix_attention

LOSS = LossParams(beta=0.04)

Model = Qwen2_5_VLForConditionalGeneration


@dataclass
class Step:
    """A step with the models it runs on and what it costs."""

    builder: PromptBuilder
    model: Model
    reference: Model
    advantages_R: Tensor
    cost: Cost = field(default_factory=Cost)

    def run(self, case: Case) -> tuple[Group, Tensor, Tensor]:
        """The sampled group, the reference's log-probabilities and the loss.

        The gradient of the loss is left in the model.
        """
        asked = question(self.builder, case)
        with self.cost.measure("rollout"):
            group = self._roll_out(asked, case)
        with self.cost.measure("reference"), torch.no_grad():
            reference_RC = self._logps(self.reference, group)[0]
        self.model.train()
        with self.cost.measure("policy"):
            loss = self._loss(group, reference_RC, case)
            loss.backward()
        self.model.eval()
        return group, reference_RC, loss.detach()

    def _roll_out(self, asked: RolloutQuestion, case: Case) -> Group:
        (group,) = roll_out(
            self.model,
            self.builder,
            [asked],
            case.group,
            CONTRAST,
            Sampling(case.completion, 1.0, TOP_P),
            seed=0,
            step=0,
            kept=None,
        )
        return group

    def _logps(self, model: Model, group: Group) -> tuple[Tensor, Tensor]:
        """Log-probabilities [R, C] of the ordered responses, and their mask."""
        prompts = [group.question.ordered]
        packed = pack(prompts, [[response.ids_C for response in group.ordered]])
        return score(model, packed, pixel_media(self.builder, prompts, model.device), 1.0).logps_RC, packed.mask_RC

    def _loss(self, group: Group, reference_RC: Tensor, case: Case) -> Tensor:
        logps_RC, mask_RC = self._logps(self.model, group)
        size = StepSize(len(logps_RC), int(mask_RC.sum()))
        return policy_loss(
            logps_RC, logps_RC.detach(), reference_RC, self.advantages_R, mask_RC, LOSS, size, case.completion
        )[0]


def prepare(folder: Path, case: Case) -> Step:
    """Policy, reference and advantages for a case."""
    builder = PromptBuilder(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
    reference = _perturbed(model)
    for each in (model, reference):
        each.lm_head.bias = torch.nn.Parameter(_stop_bias(builder, case), requires_grad=False)
        use_group_prefix_attention(each)
    if case.checkpointing:
        model.activation_checkpointing_enable()
    return Step(builder, model, reference, torch.randn(case.group, generator=torch.Generator().manual_seed(0)))


def _perturbed(model: Model) -> Model:
    """A reference near the policy: the KL term has a gradient."""
    generator, reference = torch.Generator().manual_seed(1), copy.deepcopy(model)
    with torch.no_grad():
        for weight in reference.parameters():
            weight += 0.002 * torch.randn(weight.shape, generator=generator)
    reference.requires_grad_(False)
    return reference


def _stop_bias(builder: PromptBuilder, case: Case) -> Tensor:
    """What is added to the logits.

    The end token is drawn about every STOP_EVERY tokens, or never.
    """
    bias = math.log(VOCABULARY / STOP_EVERY) if case.ragged else -1e4
    return torch.zeros(VOCABULARY).index_fill(0, torch.tensor([builder.end_id]), bias)
