"""The share of time in which the GPU does nothing."""

import shutil
import subprocess
import threading

import torch

MILLISECONDS = 200  # between two measurements


class GpuIdle:
    """Collects measurements of the driver from `start` on."""

    def __init__(self) -> None:
        self._busy: list[float] = []
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self, device: torch.device) -> None:
        """Begin to measure; nothing happens without a GPU or without nvidia-smi."""
        if device.type == "cuda" and shutil.which("nvidia-smi") and self._process is None:
            self.watch(f"GPU-{torch.cuda.get_device_properties(device).uuid}")

    def watch(self, uuid: str) -> None:
        """Measure the GPU with this id.

        This takes a process. It ends with this one, because nobody reads it then.
        """
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self._process = subprocess.Popen(
            [*query, f"--id={uuid}", f"--loop-ms={MILLISECONDS}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, args=[self._process], daemon=True).start()

    def take(self) -> float | None:
        """The idle share since the last call, None where nothing was measured."""
        with self._lock:
            busy, self._busy = self._busy, []
        return 1 - sum(busy) / (100 * len(busy)) if busy else None

    def stop(self) -> None:
        """End the measurement."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdecimal():  # a part of a GPU (MIG) is "[N/A]"
                with self._lock:
                    self._busy.append(float(line))
