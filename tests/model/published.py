"""A model folder in the layout of Qwen2.5-VL's files on the hub."""

import shutil
from pathlib import Path

from stages.run.files import read_json, write_json

PENALTY = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.1, "top_k": 1}


def write_published(source: Path, out: Path) -> Path:
    """The model of `source` in that layout.

    The text's settings lie at the top of config.json, and the template that knows media in chat_template.json. The
    processor says `min_pixels`, and generation_config.json has a penalty.
    """
    shutil.copytree(source, out)
    config = read_json(out / "config.json")
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {name: value for name, value in text.items() if name not in ("model_type", "layer_types")}
    scaling = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    write_json(out / "config.json", flat | {"rope_theta": rope["rope_theta"], "rope_scaling": scaling} | config)
    template = out / "chat_template.jinja"
    write_json(out / "chat_template.json", {"chat_template": template.read_text()})
    template.unlink()
    tokenizer = read_json(out / "tokenizer_config.json")
    write_json(out / "tokenizer_config.json", tokenizer | {"chat_template": "{{ messages[0]['content'] }}"})
    processor = read_json(out / "preprocessor_config.json")
    del processor["size"], processor["rescale_factor"]
    write_json(out / "preprocessor_config.json", processor | {"min_pixels": 3136, "max_pixels": 12_845_056})
    write_json(out / "generation_config.json", read_json(out / "generation_config.json") | PENALTY)
    return out
