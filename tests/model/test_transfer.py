import pytest
import torch

from stages.model.transfer import on_cpu, on_device


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3)
    assert on_device(tensor, torch.device("cpu")) is tensor
    assert on_cpu(tensor) is tensor


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_copy_to_and_from_a_gpu_is_pinned_and_does_not_wait() -> None:
    device, tensor = torch.device("cuda"), torch.randn(1 << 20)
    busy = torch.cuda.Event()
    torch.cuda._sleep(1_000_000_000)  # about half a second
    there = on_device(tensor, device)
    back = on_cpu(there)
    busy.record()
    assert not busy.query()  # the CPU is here before the GPU has begun to copy
    torch.cuda.synchronize()
    assert back.is_pinned()
    assert torch.equal(back, tensor)
