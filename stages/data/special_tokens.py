"""Special tokens of chat templates and vocabularies, as text.

The list is here, without a tokenizer, because ingest knows no model yet: a question must suit every model that may be
trained or asked with it. `tests/data/test_special_tokens.py` holds the list against the vocabularies.
"""

import re

from stages.data.sample import DataType, Unusable

SPECIAL_TOKEN = re.compile(
    r"<[|｜][^\s<>|｜]{1,100}[|｜]>"  # Qwen, Llama 3, Phi, GLM, DeepSeek: <|im_end|>, <|image_pad|>, <｜User｜>
    r"|</?s>|<(?:bos|eos|pad|unk|mask)>|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral, Gemma
    r"|<(?:start|end)_of_(?:turn|image)>|<image_soft_token>"  # Gemma 3
    r"|<(?:image|video|audio|speech)>|</?img>|<IMG_CONTEXT>|\[IMG(?:_BREAK|_END)?\]"  # LLaVA, InternVL, Pixtral
    r"|</?tool_(?:call|response)>"  # Qwen
    r"|\[[gs]?MASK\]|<[se]op>"  # GLM
)


def check_special_tokens(field: str, text: str) -> None:
    """Unusable when the text holds a special token."""
    if token := SPECIAL_TOKEN.search(text):
        raise Unusable("special token", f"{field} holds {token.group()}")


def without_media_tag(problem: str, data_type: DataType) -> str:
    """The question without the tag that says where its medium is shown.

    Datasets write "<video>" or "<image>" before or after a question; the medium is shown before the question in any
    case. Unusable for more than one tag, which asks for more than one medium.
    """
    if problem.count("<video>") + problem.count("<image>") > 1:
        raise Unusable("several media", "the question has more than one <video> or <image> tag")
    tag = f"<{data_type}>"
    return problem.strip().removeprefix(tag).removesuffix(tag).strip() if tag in problem else problem
