"""What a sample shares with a benchmark, on literal questions."""

from stages.curation.contamination import Contamination
from tests.curation.literals import CHOICE


def test_contamination_needs_the_benchmarks_media_and_words_or_either() -> None:
    text = "which of these fifteen little words in a row will be found in the benchmark today"
    held_out = CHOICE.model_copy(update={"problem": text, "options": ()})
    same_text = held_out.model_copy(update={"problem": "So, " + text, "media_sha256": "bb"})
    same_media = held_out.model_copy(update={"problem": "What colour is it?"})
    both = held_out.model_copy(update={"problem": "So, " + text})
    media_or_text, media_and_text = (
        Contamination({"bench": [held_out]}, mode) for mode in ("media or text", "media and text")
    )
    assert [media_and_text(sample) is None for sample in (same_text, same_media, both)] == [True, True, False]
    assert media_or_text(same_media) == "media of bench"
    assert media_or_text(same_text) == "text of bench: which of these fifteen little words in a row will be found in"
    assert media_and_text(CHOICE.model_copy(update={"media_sha256": "cc"})) is None


def test_the_same_frames_count_as_the_same_media_and_are_looked_at_only_where_it_matters() -> None:
    media_or_text, media_and_text = (
        Contamination({"bench": [CHOICE]}, mode) for mode in ("media or text", "media and text")
    )
    copy = CHOICE.model_copy(update={"media_sha256": "bb"})
    words = "text of bench: which way does the ball move a left b right"
    assert media_and_text(copy, lambda: "bench") == f"frames of bench; {words}"
    assert media_and_text(copy, lambda: None) is None
    unlike = copy.model_copy(update={"problem": "What colour is it, and why would anybody ask?"})
    assert media_or_text(unlike, lambda: "bench") == "frames of bench"
    looked: list[str] = []
    for rule, sample in ((media_and_text, unlike), (media_and_text, CHOICE), (media_or_text, copy)):
        rule(sample, lambda: looked.append("looked"))
    assert looked == []
