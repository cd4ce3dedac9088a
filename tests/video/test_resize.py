import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as transformers_smart_resize

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


def test_the_transformers_kernel_equals_the_video_processor_itself_where_torchvision_works() -> None:
    try:
        from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"transformers' video processors need torchvision, which cannot be imported here: {error}")
    frames_THWC = RNG.integers(0, 256, (4, 120, 200, 3), dtype=np.uint8)
    size = smart_resize(120, 200, 28, 56 * 56, 28 * 28 * 16)
    processor = Qwen2VLVideoProcessor(do_rescale=False, do_normalize=False, min_pixels=56 * 56, max_pixels=28 * 28 * 16)
    video_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)

    expected = processor(videos=[video_TCHW], return_tensors="pt")["pixel_values_videos"]

    from stages.video.patchify import patchify

    patches_NK, _ = patchify(resize(frames_THWC, *size, kernel="transformers"), patch=14, merge=2, temporal_patch=2)
    np.testing.assert_array_equal(patches_NK, expected.numpy())


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
