"""How much likelier a response is on ordered than on contrast frames."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_utils import PreTrainedModel

from stages.model.inputs import PromptBuilder
from stages.model.vision import encoded_media, pixel_media
from stages.rl.rollout import Group
from stages.rl.scoring import pack, score


def mean_gains(ordered_logps_RC: Tensor, contrast_logps_RC: Tensor, mask_RC: Tensor) -> Tensor:
    """Δ of each response, [R], in nats per token.

    Δ is the mean over its tokens of log π(token | ordered frames) − log π(token | contrast frames). The mean keeps a
    response from earning more by being longer. This is in the spirit of TaRO (arXiv 2606.09248).
    """
    return ((ordered_logps_RC - contrast_logps_RC) * mask_RC).sum(dim=1) / mask_RC.sum(dim=1)


@torch.no_grad()
def likelihood_gains(model: PreTrainedModel, builder: PromptBuilder, group: Group, temperature: float) -> list[float]:
    """Δ of each ordered response of a group; empty without contrast frames.

    The responses are scored once more, behind the contrast prompt. Behind the ordered one, sampling has their
    log-probabilities.
    """
    prompt, features = group.question.contrast, group.contrast_features
    if prompt is None:
        return []
    packed = pack([prompt], [[response.ids_C for response in group.ordered]]).to(model.device)
    media = pixel_media(builder, [prompt], model.device) if features is None else encoded_media([features])
    contrast_RC = score(model, packed, media, temperature).logps_RC
    ordered_RC = pad_sequence([response.logps_C for response in group.ordered], batch_first=True).to(model.device)
    return mean_gains(ordered_RC, contrast_RC, packed.mask_RC).tolist()
