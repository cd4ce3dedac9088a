import pytest
from pydantic import ValidationError

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
        spec().key("b" * 64, None, None),
        spec().key("a" * 64, 1.0, None),
        spec().key("a" * 64, None, 1.0),
    ]
    assert len({key, *others}) == 7


def test_the_key_of_a_stage_with_more_parameters_is_that_of_its_spec() -> None:
    from stages.frames import FramesParams

    stage = FramesParams.model_validate({**REFERENCE, "workers": 3, "max_rejected": 0.5})
    assert stage.key("a" * 64, None, None) == spec().key("a" * 64, None, None)


def test_a_spec_out_of_bounds_is_an_error() -> None:
    with pytest.raises(ValidationError, match="max_frames"):
        spec(max_frames=0)
