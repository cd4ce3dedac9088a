"""Rollouts whose responses servers draw, with the adapters as they are now."""

import asyncio
import copy
import math
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from pydantic import JsonValue
from transformers.modeling_utils import PreTrainedModel

from stages.chat.reply import Reply
from stages.chat.request import PLAIN, ChatSampling, Dialect, Request
from stages.data.prompt import question_text
from stages.data.sample import Sample
from stages.generation.generate import Completion
from stages.handshake.asked import Asked
from stages.handshake.comparison import ServedModel, chosen
from stages.handshake.placeholders import ban
from stages.model.adapters import write_adapter
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.vision import FeatureCache, Features
from stages.rl.adapter_server import Adapter, AdapterServer
from stages.rl.params import StepParams
from stages.rl.questions import RolloutQuestion, contrast_order, draw_seed
from stages.rl.rollout import Group
from stages.rl.server_pool import RolloutServers, draw, load_everywhere, opened
from stages.run.errors import UserError
from stages.run.work import IS_FIRST_PROCESS
from stages.video.frame_store import FrameReader


class ServedRollouts:
    """Draws the responses of one training process from servers.

    The first process writes each step's adapter and has the servers load it. Then every process asks its own questions.
    """

    def __init__(
        self,
        params: StepParams,
        servers: RolloutServers,
        model: Path,
        reader: FrameReader,
        builder: PromptBuilder,
        folder: Path,
    ) -> None:
        """`model` is the folder that the servers serve; adapters go to `folder`."""
        self._params, self._servers, self._model, self._builder = params, servers, model, builder
        self._reader = copy.copy(reader)  # the other one serves the thread that prepares questions
        self._folder = folder.absolute()
        self._adapter: Adapter | None = None

    def renew(self, model: Any, questions: Sequence[RolloutQuestion], step: int) -> None:
        """Have the servers load the adapters of `model`, a PeftModel.

        The first time, all servers must do it, and a handshake shows that they read `questions` as this process does.
        UserError with what differs, or what a server refuses. Later, a server that fails is left out until it is back.
        """
        folders, rank = [Path()], model.peft_config["default"].r
        if IS_FIRST_PROCESS:
            folders = [write_adapter(model, self._folder)]
            self._load(Adapter(folders[0], rank), questions, step)
        (folder,) = broadcast_object_list(folders)
        self._adapter = Adapter(folder, rank)

    def _load(self, adapter: Adapter, questions: Sequence[RolloutQuestion], step: int) -> None:
        """Put an adapter in the place of the former one; see `renew`."""
        former = self._adapter
        errors = asyncio.run(load_everywhere(self._servers, adapter, former and former.name))
        if former is None:
            if errors:
                raise errors[0]
            asyncio.run(self._shake_hands(questions, step))
        elif former != adapter:
            shutil.rmtree(former.folder)

    def roll_out(
        self, model: PreTrainedModel, questions: Sequence[RolloutQuestion], step: int, kept: FeatureCache | None
    ) -> list[Group]:
        """The groups of `rollout.roll_out`, their responses from the servers.

        UserError when a server shows another prompt than this process, or sends what cannot be scored.
        """
        assert self._adapter is not None, "renew comes first"
        with_contrast = [question for question in questions if self._has_contrast(question)]
        prompts = [question.ordered for question in questions]
        prompts += [question.contrast for question in with_contrast if question.contrast is not None]
        requests = [self._drawn(question.sample, False, step) for question in questions]
        requests += [self._drawn(question.sample, True, step) for question in with_contrast]
        replies = asyncio.run(draw(self._servers, self._adapter, requests))
        responses = (completions(self._builder, *each) for each in zip(prompts, requests, replies, strict=True))
        ordered = [next(responses) for _ in questions]
        contrast = [next(responses) if self._has_contrast(question) else [] for question in questions]
        features: Sequence[Features | None] = [None] * len(questions)
        if kept is not None:
            features = kept.encode(model, self._builder, prompts[: len(questions)])
        return [Group(*each) for each in zip(questions, ordered, contrast, features, strict=True)]

    def _has_contrast(self, question: RolloutQuestion) -> bool:
        return self._params.contrast_size > 0 and question.contrast is not None

    def _drawn(self, sample: Sample, is_contrast: bool, step: int) -> Request:
        """The request that draws the responses of a question in one order."""
        assert self._adapter is not None
        params, builder = self._params, self._builder
        seed = draw_seed(params.seed, step, not is_contrast, sample.sample_id)
        sampling = ChatSampling(params.temperature, params.top_p, params.max_new_tokens, seed)
        fields: dict[str, JsonValue] = {
            "n": params.contrast_size if is_contrast else params.group_size,
            "return_token_ids": True,
            "ignore_eos": True,  # <|im_end|> alone ends a response, as in this process
            "stop_token_ids": [builder.end_id],
            **ban(builder),
        }
        order_T = self._order(sample, is_contrast, step)
        return self._request(sample, order_T, self._adapter.name, sampling, Dialect(fields))

    def _order(self, sample: Sample, is_contrast: bool, step: int) -> np.ndarray:
        count = len(self._reader.times(sample.sample_id))
        if not is_contrast:
            return np.arange(count)
        return contrast_order(sample, count, self._params.contrast, self._params.seed, step)

    def _request(
        self, sample: Sample, order_T: np.ndarray, name: str, sampling: ChatSampling, dialect: Dialect
    ) -> Request:
        pictures = self._reader.pictures(sample.sample_id)
        return Request(
            model=name,
            text=question_text(sample, self._builder.prompt_style),
            pictures=tuple(pictures[place] for place in order_T),
            data_type=sample.data_type,
            payload="video",
            sampling=sampling,
            identity=sample.sample_id,
            dialect=dialect,
            times=tuple(self._reader.times(sample.sample_id)),
            logprobs=True,
        )

    async def _shake_hands(self, questions: Sequence[RolloutQuestion], step: int) -> None:
        """UserError with what a server reads otherwise, or with other weights."""
        async with opened(self._servers) as servers:
            for server in servers:
                base, greedy = await server.base(), ChatSampling(0.0, 1.0, 1)
                asked = [
                    Asked(
                        question.sample,
                        self._reader.load(question.sample.sample_id),
                        order_T := self._order(question.sample, is_contrast, step),
                        self._request(question.sample, order_T, base, greedy, PLAIN),
                    )
                    for question in questions
                    for is_contrast in ([False, True] if self._has_contrast(question) else [False])
                ]
                served = ServedModel(self._model, self._builder.prompt_style, partial(ask_each, server))
                if difference := await served.difference(chosen(asked)):
                    raise UserError(
                        f"handshake: {server.url} does not read what this process would. What differs is {difference}"
                    )


async def ask_each(server: AdapterServer, requests: Sequence[Request]) -> list[tuple[Request, Reply]]:
    """Each request with its reply; UserError when one fails."""
    replies = await asyncio.gather(*map(server.ask, requests))
    if failed := [reply for reply in replies if reply.status == "failed"]:
        raise UserError(f"handshake: {server.url} does not answer: {failed[0].detail}")
    return list(zip(requests, replies, strict=True))


def completions(builder: PromptBuilder, prompt: Prompt, request: Request, reply: Reply) -> list[Completion]:
    """The responses of one request, their log-probabilities at temperature 1.

    UserError when the server showed its model another prompt, or sent no tokens that the model can score.
    """
    found, where = [reply, *reply.others], f"{request.identity}: the rollout server"
    if any(not each.ids or len(each.ids) != len(each.logprobs) for each in found):
        raise UserError(
            f"{where} sent no token ids with their log-probabilities; take a vLLM that knows return_token_ids"
        )
    if list(reply.prompt_ids) != prompt.ids_P.tolist():
        raise UserError(
            f"{where} showed its model a prompt of {len(reply.prompt_ids)} tokens which is not the one of this process "
            f"({len(prompt.ids_P)} tokens); serve the model's own folder, with its own chat template"
        )
    size, banned = builder.config.text_config.vocab_size, set(builder.banned_ids)
    can_be_scored = all(
        0 <= token < size and token not in banned and math.isfinite(logprob.logprob)
        for each in found
        for token, logprob in zip(each.ids, each.logprobs, strict=True)
    )
    if not can_be_scored or len(found) != request.dialect.extra_body["n"]:
        raise UserError(f"{where} sent another number of responses than asked for, or tokens that cannot be scored")
    return [
        Completion(
            ids_C=torch.tensor(each.ids),
            logps_C=torch.tensor([token.logprob for token in each.logprobs]),
            text=builder.decode(torch.tensor(each.ids)),
            truncated=each.status == "truncated",
        )
        for each in found
    ]
