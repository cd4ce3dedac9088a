from importlib import import_module

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as transformers_smart_resize

from stages.model.patchify import patchify
from stages.video.resize import resize, smart_resize

RNG = np.random.default_rng(0)


def test_smart_resize_equals_transformers_on_ordinary_and_extreme_sizes() -> None:
    sides = [1, 2, 13, 14, 27, 28, 64, 180, 239, 360, 640, 1080, 1920, 4096]
    limits = [(28, 56 * 56, 28 * 28 * 1280), (28, 128 * 784, 105_369), (32, 4 * 1024, 256 * 1024), (16, 256, 2304)]
    compared = 0
    for height in sides:
        for width in (side for side in sides if max(side, height) <= 200 * min(side, height)):
            for limit in limits:
                assert smart_resize(height, width, *limit) == transformers_smart_resize(height, width, *limit)
                compared += 1
    assert compared > 500


def test_smart_resize_refuses_a_ribbon() -> None:
    with pytest.raises(ValueError, match="aspect ratio of 2010x10 is above 200"):
        smart_resize(10, 2010, 28, 56 * 56, 1_003_520)


def test_the_pillow_kernel_equals_transformers_image_processor_bit_for_bit() -> None:
    image_HWC = RNG.integers(0, 256, (101, 203, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(do_rescale=False, do_normalize=False, min_pixels=3136, max_pixels=28 * 28 * 16)
    expected = processor(images=[image_HWC], return_tensors="np")

    resized = resize(image_HWC[None], *smart_resize(101, 203, 28, 3136, 28 * 28 * 16), kernel="pillow")
    unresized = Qwen2VLImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)

    again = unresized(images=[resized[0]], return_tensors="np")
    np.testing.assert_array_equal(again["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize("size", [(56, 84), (280, 420)], ids=["down", "up"])
def test_the_transformers_kernel_is_the_byte_interpolation_of_its_video_processors(size: tuple[int, int]) -> None:
    frames_THWC = RNG.integers(0, 256, (3, 120, 200, 3), dtype=np.uint8)
    frames_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).contiguous()
    expected = interpolate(frames_TCHW, size=size, mode="bicubic", antialias=True, align_corners=False)

    resized = resize(frames_THWC, *size, kernel="transformers")

    np.testing.assert_array_equal(resized, expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("family", "patch", "pixels"), [("qwen2_vl", 14, (56 * 56, 12_544)), ("qwen3_vl", 16, (4_096, 16_384))]
)
def test_the_transformers_kernel_and_patches_equal_the_video_processor_itself_where_torchvision_works(
    family: str, patch: int, pixels: tuple[int, int]
) -> None:
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"transformers' video processors need torchvision, which cannot be imported here: {error}")
    module = import_module(
        f"transformers.models.{family}.video_processing_{family}"
    )  # qwen2_vl's is Qwen2.5-VL's as well
    processors = {"qwen2_vl": "Qwen2VLVideoProcessor", "qwen3_vl": "Qwen3VLVideoProcessor"}
    frames_THWC = RNG.integers(0, 256, (4, 120, 200, 3), dtype=np.uint8)
    lower, upper = pixels
    # Qwen3-VL's limits count the pixels of all frames together.
    scale = len(frames_THWC) if family == "qwen3_vl" else 1
    size = {"shortest_edge": lower * scale, "longest_edge": upper * scale}
    processor = getattr(module, processors[family])(
        do_rescale=False, do_normalize=False, do_sample_frames=False, size=size
    )

    expected = processor(videos=[torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)], return_tensors="pt")

    resized_THWC = resize(frames_THWC, *smart_resize(120, 200, 2 * patch, lower, upper), kernel="transformers")
    patches_NK, grid_thw = patchify(resized_THWC, patch=patch, merge=2, temporal_patch=2)
    assert expected["video_grid_thw"].tolist() == [list(grid_thw)]
    np.testing.assert_array_equal(patches_NK, expected["pixel_values_videos"].numpy())


def test_the_qwen_vl_utils_kernel_interpolates_floats_and_rounds_at_the_end() -> None:
    frames_THWC = RNG.integers(0, 256, (2, 120, 200, 3), dtype=np.uint8)
    floats_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float()
    expected = interpolate(floats_TCHW, size=(56, 84), mode="bicubic", antialias=True).clamp(0, 255).round()

    resized = resize(frames_THWC, 56, 84, kernel="qwen-vl-utils")

    np.testing.assert_array_equal(resized, expected.permute(0, 2, 3, 1).numpy())
    assert (resized != resize(frames_THWC, 56, 84, kernel="transformers")).any()  # the kernels are not interchangeable


def test_frames_that_have_the_size_already_are_returned_as_they_are() -> None:
    frames_THWC = np.zeros((1, 28, 56, 3), dtype=np.uint8)
    assert resize(frames_THWC, 28, 56, kernel="qwen-vl-utils") is frames_THWC
