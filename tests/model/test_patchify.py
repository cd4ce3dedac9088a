import numpy as np
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from stages.model.patchify import patchify


def test_one_frame_becomes_one_temporal_patch_with_the_blocks_of_one_token_side_by_side() -> None:
    frame_HW = np.arange(4 * 8, dtype=np.uint8).reshape(1, 4, 8, 1)

    patches_NK, grid_thw = patchify(frame_HW, patch=2, merge=2, temporal_patch=2)

    assert grid_thw == (1, 2, 4)
    first_token = [[0, 1, 8, 9], [2, 3, 10, 11], [16, 17, 24, 25], [18, 19, 26, 27]]
    assert patches_NK[:4].tolist() == [patch * 2 for patch in first_token]  # the same frame twice
    assert patches_NK[4, :4].tolist() == [4, 5, 12, 13]


def test_an_odd_number_of_frames_repeats_the_last_one() -> None:
    frames = np.repeat(np.array([10, 20, 30], dtype=np.uint8), 2 * 2 * 3).reshape(3, 2, 2, 3)

    patches_NK, grid_thw = patchify(frames, patch=1, merge=2, temporal_patch=2)

    assert grid_thw == (2, 2, 2)
    assert patches_NK[0].tolist() == [10, 20, 10, 20, 10, 20]
    assert patches_NK[4].tolist() == [30, 30, 30, 30, 30, 30]


def test_an_image_equals_transformers_own_processor_bit_for_bit() -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)
    expected = processor(images=[image_HWC], return_tensors="np")

    patches_NK, grid_thw = patchify(image_HWC[None], patch=14, merge=2, temporal_patch=2)

    np.testing.assert_array_equal(patches_NK, expected["pixel_values"])
    assert [list(grid_thw)] == expected["image_grid_thw"].tolist()


def test_a_normalised_image_equals_transformers_own_processor_bit_for_bit() -> None:
    image_HWC = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(do_resize=False)
    expected = processor(images=[image_HWC], return_tensors="np")["pixel_values"]

    patches_NK, _ = patchify(image_HWC[None], patch=14, merge=2, temporal_patch=2)
    mean_K, std_K = (np.array(values, np.float32).repeat(2 * 14 * 14) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    scaled_NK = (patches_NK.astype(np.float64) * (1 / 255)).astype(np.float32)

    np.testing.assert_array_equal((scaled_NK - mean_K) / std_K, expected)
