"""A program for another Python, whose transformers is of another release: what a model folder gives there.

    python elsewhere.py FOLDER INPUTS OUT

INPUTS holds a question's text, its frames and the model's inputs, as `torch.save` wrote them. OUT gets the logits, the
tokens of the text, and what the processor makes of an image and of a video. It imports nothing of the project.
"""

import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.processing_auto import AutoProcessor
from transformers.models.auto.tokenization_auto import AutoTokenizer


def processed(processor: Any, kind: str, text: str, frames_THWC: np.ndarray, fps: float) -> dict[str, Any]:
    """Tokens, pixels and grid of one message that shows an image or a video."""
    message = [{"role": "user", "content": [{"type": kind}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    if kind == "image":
        media = {"images": [frames_THWC[0]]}
    else:
        metadata = {"total_num_frames": len(frames_THWC), "fps": fps, "frames_indices": list(range(len(frames_THWC)))}
        media = {"videos": [torch.tensor(frames_THWC).permute(0, 3, 1, 2)], "video_metadata": [metadata]}
        media["do_sample_frames"] = False
    found = processor(text=[prompt], return_tensors="pt", **media)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def main(folder: str, inputs: str, out: str) -> None:
    """Load the folder by its Auto classes and write what they give."""
    given = torch.load(inputs, weights_only=False)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    with torch.no_grad():
        logits = model(**given["inputs"]).logits
    processor = AutoProcessor.from_pretrained(folder)
    tokenizers = {"auto": AutoTokenizer.from_pretrained(folder), "processor": processor.tokenizer}
    media = {
        kind: processed(processor, kind, given["text"], given["frames"], given["fps"]) for kind in ("image", "video")
    }
    found = {
        "release": version("transformers"),
        "logits": logits,
        "ids": {name: tokenizer(given["text"])["input_ids"] for name, tokenizer in tokenizers.items()},
        **media,
    }
    torch.save(found, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
