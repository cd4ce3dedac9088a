"""A tiny LLaVA for `transformers serve`, which needs no torchvision.

It is trained for seconds to answer one question in the asked form.

    python -m tests.tiny_llava FOLDER

The embedded Qwen2.5-VL itself cannot be served without torchvision, which its processor's video half imports.
"""

import sys
from pathlib import Path

import torch
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llava.configuration_llava import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from stages.embedded.tiny import build_tokenizer

ANSWER = "<think>it moves to the left, so the answer is A.</think>\n<answer>A</answer>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LINE = f"<|im_start|>user\nWhich way does it move?<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>"


def write_tiny_llava(out: Path) -> Path:
    """A model folder of a few hundred kB.

    A picture of any size becomes 4 tokens.
    """
    tokenizer = build_tokenizer([_LINE])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            ),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
            ),
            image_token_index=ids["<image>"],
            vision_feature_layer=-1,
        )
    )
    _teach(model, tokenizer)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return out


def _teach(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Overfit: whatever is shown and asked, the answer is ANSWER."""
    tail = torch.tensor(tokenizer.encode(f"<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>"))
    answer_tokens = len(tokenizer.encode(f"{ANSWER}<|im_end|>"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        pictures = int(torch.randint(9, ()))
        shown_BT = torch.full((8, 4 * pictures), model.config.image_token_index)
        asked_BT = torch.randint(tokenizer.vocab_size, (8, int(torch.randint(1, 120, ()))))
        ids_BT = torch.cat([shown_BT, asked_BT, tail.expand(8, -1)], dim=1)
        labels_BT = ids_BT.clone()
        labels_BT[:, :-answer_tokens] = -100
        pixels = torch.randn(8 * pictures, 3, 28, 28) if pictures else None
        model(input_ids=ids_BT, pixel_values=pixels, labels=labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


if __name__ == "__main__":
    write_tiny_llava(Path(sys.argv[1]))
