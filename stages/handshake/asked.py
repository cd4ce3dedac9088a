"""A question as a server and as this process get it."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from stages.chat.request import ChatSampling, Request
from stages.data.sample import Sample
from stages.video.frame_store import FrameReader, Frames

ANSWER_TOKENS = 32
"""Most tokens of the answer to a probe."""


@dataclass(frozen=True)
class Asked:
    """A request, and what it was made from.

    `order_T` holds the places of the frames in the order in which they are shown.
    """

    sample: Sample
    frames: Frames
    order_T: np.ndarray
    request: Request

    @classmethod
    def in_order(cls, sample: Sample, request: Request, reader: FrameReader) -> "Asked":
        """A question whose frames are shown in order."""
        return cls(sample, reader.load(sample.sample_id), np.arange(len(request.pictures)), request)

    @property
    def is_one_medium(self) -> bool:
        """Whether our model inputs have a prompt of this form.

        They show one video or one picture, and no clip as pictures.
        """
        return self.request.is_video or self.sample.data_type == "image"

    def probe(self, logprobs: bool) -> Request:
        """The same question, with a short greedy answer."""
        sampling = ChatSampling(0.0, 1.0, ANSWER_TOKENS, self.request.sampling.seed)
        return dataclasses.replace(self.request, sampling=sampling, logprobs=logprobs)

    def without_frames(self) -> Request:
        """The text of the question alone, with an answer of one token."""
        sampling = ChatSampling(0.0, 1.0, 1, self.request.sampling.seed)
        return dataclasses.replace(self.request, sampling=sampling, pictures=(), times=(), payload="images")
