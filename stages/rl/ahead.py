"""Questions of the next rollout, prepared while the model works."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from stages.data.sample import Sample
from stages.model.inputs import PromptBuilder
from stages.rl.questions import Contrast, RolloutQuestion, ask
from stages.video.frame_store import FrameReader


class QuestionsAhead:
    """Asks questions, named by their row in `samples`, in a thread.

    It is one thread, because the reader serves one at a time.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        reader: FrameReader,
        builder: PromptBuilder,
        contrast: Contrast | None,
        seed: int,
    ) -> None:
        self._samples, self._reader, self._builder = samples, reader, builder
        self._contrast: Contrast | None = contrast
        self._seed = seed
        self._thread = ThreadPoolExecutor(1, "questions")
        self._asked: dict[tuple[int, int], Future[RolloutQuestion]] = {}  # by step and row

    def prepare(self, rows: Sequence[int], step: int) -> None:
        """Start to ask these questions for a step."""
        for row in rows:
            if (step, row) not in self._asked:
                self._asked[step, row] = self._thread.submit(self._ask, row, step)

    def take(self, rows: Sequence[int], step: int) -> list[RolloutQuestion]:
        """The questions of a step; what was not prepared is asked now."""
        self.prepare(rows, step)
        questions = [self._asked[step, row].result() for row in rows]
        self._asked = {key: question for key, question in self._asked.items() if key[0] > step}
        return questions

    def _ask(self, row: int, step: int) -> RolloutQuestion:
        return ask(self._samples[row], self._reader, self._builder, self._contrast, self._seed, step)
