import numpy as np

from stages.data.order import permutation


def test_a_shuffle_is_a_permutation_and_never_the_order_itself() -> None:
    for n in range(2, 9):
        for seed in range(200):
            order_T = permutation(n, "shuffled", "sample", seed)
            assert sorted(order_T) == list(range(n))
            assert order_T.tolist() != list(range(n))


def test_a_shuffle_depends_on_every_seed_part_and_on_nothing_else() -> None:
    assert permutation(16, "shuffled", "a", 1).tolist() == permutation(16, "shuffled", "a", 1).tolist()
    assert permutation(16, "shuffled", "a", 1).tolist() != permutation(16, "shuffled", "a", 2).tolist()
    assert permutation(16, "shuffled", "a", 1).tolist() != permutation(16, "shuffled", "b", 1).tolist()
    assert permutation(16, "shuffled", "a", 11).tolist() != permutation(16, "shuffled", "a1", 1).tolist()


def test_two_frames_can_only_be_swapped_and_one_frame_stays() -> None:
    assert permutation(2, "shuffled", "any").tolist() == [1, 0]
    assert permutation(1, "shuffled", "any").tolist() == [0]


def test_the_other_orders() -> None:
    assert permutation(4, "ordered").tolist() == [0, 1, 2, 3]
    assert permutation(4, "reversed").tolist() == [3, 2, 1, 0]
    assert permutation(4, "single-frame").tolist() == [2, 2, 2, 2]
    assert permutation(4, "blind").tolist() == []


def test_every_order_can_index_frames() -> None:
    frames_THWC = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert frames_THWC[permutation(3, "reversed")].ravel().tolist() == [2, 1, 0]
