"""Questions, answers and clips for the tests of curation."""

from stages.curation.params import RuleParams
from stages.data.annotations import AnnotationRow, Status
from stages.data.sample import Flag, Sample
from stages.video.clips import ClipRow

PARAMS = RuleParams()
CHOICE = Sample(
    sample_id="s1",
    source="shapes",
    data_type="video",
    problem_type="multiple choice",
    problem="Which way does the ball move?",
    options=("A. left", "B. right"),
    answer="A",
    media_path="a.mp4",
    media_sha256="aa",
)
NUMBER = CHOICE.model_copy(update={"problem_type": "numerical", "options": (), "answer": "3"})


def annotation(status: Status, detail: str, text: str, tokens: int) -> AnnotationRow:
    """A row of the annotations table about `CHOICE`."""
    return {
        "sample_id": "s1",
        "request_key": "key1",
        "status": status,
        "detail": detail,
        "text": text,
        "prompt_tokens": 100,
        "completion_tokens": tokens,
    }


def answer(thought: str, given: str = "A", tokens: int = 20) -> AnnotationRow:
    """A well-formed answer."""
    return annotation("ok", "", f"<think>{thought}</think>\n<answer>{given}</answer>", tokens)


def clip(near_clip: str, *flags: Flag) -> ClipRow:
    """Facts of a clip that looks like that of sample `near_clip`."""
    return {
        "sample_id": "s1",
        "same_media": "s1",
        "near_clip": near_clip,
        "flags": list(flags),
        "brightness": 5.25,
        "motion": 0.125,
        "seconds": 2.0,
        "keyframes": None,
    }
