from importlib import import_module

import pytest
from pydantic import ValidationError

from stages.video.resize import smart_resize
from stages.video.spec import FrameSpec

REFERENCE: dict[str, object] = {
    "policy": "fps",
    "max_frames": 16,
    "min_pixels": 100_352,
    "max_pixels": 105_369,
    "factor": 28,
    "kernel": "qwen-vl-utils",
}


def spec(**changes: object) -> FrameSpec:
    return FrameSpec.model_validate({**REFERENCE, **changes})


def test_uniform_frames_reach_from_the_first_to_the_last() -> None:
    uniform = spec(policy="uniform", max_frames=4)
    assert uniform.sample(100, 25.0).tolist() == [0, 33, 66, 99]
    assert uniform.sample(4, 25.0).tolist() == [0, 1, 2, 3]
    assert uniform.sample(3, 25.0).tolist() == [0, 1, 2]
    assert uniform.sample(1, 25.0).tolist() == [0]


@pytest.mark.parametrize(
    ("frames", "fps", "count"),
    [
        (491, 22.29, 16),  # 22 s ask for 44, at most 16
        (125, 25.0, 10),  # 5 s
        (135, 25.0, 10),  # 5.4 s ask for 10.8, rounded down to even
        (30, 30.0, 4),  # 1 s asks for 2, at least 4
        (3, 30.0, 2),  # three frames: the largest even number
        (1, 0.0, 1),  # where the reference fails
    ],
)
def test_the_reference_policy_counts_by_seconds_within_its_limits(frames: int, fps: float, count: int) -> None:
    indices = spec().sample(frames, fps)
    assert len(indices) == count
    assert indices[0] == 0
    assert indices[-1] == (frames - 1 if count > 1 else 0)


def test_the_key_covers_the_spec_the_media_and_the_bounds_and_nothing_else() -> None:
    key = spec().key("a" * 64, None, None)
    assert key == spec().key("a" * 64, None, None)
    others = [
        spec(max_frames=32).key("a" * 64, None, None),
        spec(jpeg_quality=None).key("a" * 64, None, None),
        spec(decoder="decord").key("a" * 64, None, None),
        spec(total_pixels=1_000_000).key("a" * 64, None, None),
        spec().key("b" * 64, None, None),
        spec().key("a" * 64, 1.0, None),
        spec().key("a" * 64, None, 1.0),
    ]
    assert len({key, *others}) == 8


def test_the_keys_of_frames_taken_before_total_pixels_still_hold() -> None:
    assert spec().key("a" * 64, None, None) == "ca74e3e9d263cc8c7ad8645913f167de08d17ded5e0721d73591341aedb380cf"


# Frames, height, width; factor; min, max and total pixels; height and width that fetch_video of qwen-vl-utils 0.0.14
# gives. Qwen2VLVideoProcessor of transformers 5.19 gives the same with cap_pixels_per_frame.
RECORDED = [
    ((64, 1080, 1920), (28, 12_544, 602_112, 3_211_264), (224, 420)),
    ((128, 1080, 1920), (28, 100_352, 602_112, 19_267_584), (392, 728)),
    ((128, 1080, 1920), (28, 3_136, 602_112, 90_316_800), (560, 1008)),  # the total leaves enough
    ((256, 1080, 1920), (32, 4_096, 131_072, 16_777_216), (256, 480)),
    ((256, 720, 1280), (28, 100_352, 602_112, 19_267_584), (280, 504)),
    ((512, 480, 854), (28, 3_136, 100_352, 12_845_056), (140, 280)),
    ((512, 480, 854), (28, 100_352, 602_112, 19_267_584), (224, 420)),  # min_pixels wins over the total
    ((1024, 97, 1013), (28, 3_136, 200_704, 12_845_056), (28, 504)),
]


@pytest.mark.parametrize(("video", "limits", "expected"), RECORDED)
def test_frames_of_long_clips_have_the_sizes_of_qwen_vl_utils(
    video: tuple[int, int, int], limits: tuple[int, int, int, int], expected: tuple[int, int]
) -> None:
    (frames, height, width), (factor, least, most, total) = video, limits
    budget = spec(max_frames=1024, factor=factor, min_pixels=least, max_pixels=most, total_pixels=total)
    assert smart_resize(height, width, factor, least, budget.most_pixels(frames)) == expected


def test_a_budget_gives_frames_the_sizes_of_qwen3_vls_processor() -> None:
    """Its `longest_edge` counts the pixels of every frame, total_pixels those of every pair."""
    theirs = import_module("transformers.models.qwen3_vl.video_processing_qwen3_vl").smart_resize
    longest = 32 * 32 * 24_576  # of the published processors
    budget = spec(max_frames=1024, factor=32, min_pixels=1024, max_pixels=longest, total_pixels=longest // 2)
    for frames in (2, 8, 64, 256, 768):
        for height, width in ((1080, 1920), (720, 1280), (480, 854), (1920, 1080), (240, 320)):
            expected = theirs(frames, height, width, factor=32, min_pixels=1024 * frames, max_pixels=longest)
            assert smart_resize(height, width, 32, 1024, budget.most_pixels(frames)) == expected


def test_a_last_frame_without_a_pair_counts_as_a_pair() -> None:
    budget = spec(min_pixels=784, max_pixels=100_352, total_pixels=40 * 784)
    assert [budget.most_pixels(frames) for frames in (1, 2, 3, 4, 5)] == [31_360, 31_360, 15_680, 15_680, 10_453]


def test_the_key_of_a_stage_with_more_parameters_is_that_of_its_spec() -> None:
    from stages.frames import FramesParams

    stage = FramesParams.model_validate({**REFERENCE, "workers": 3, "max_rejected": 0.5})
    assert stage.key("a" * 64, None, None) == spec().key("a" * 64, None, None)


def test_a_spec_out_of_bounds_is_an_error() -> None:
    with pytest.raises(ValidationError, match="max_frames"):
        spec(max_frames=0)
