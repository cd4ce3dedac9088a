"""One T-GRPO step: the released code's way against this project's.

Both run on the same weights in one process.

    python -m speed.tgrpo_step [CASE…]        (default: all but quick)
    python -m speed.tgrpo_step --growth       (does measured cost follow the cost model as G, P and C grow?)

The peer (`released`) is the released trainer rewritten for current transformers. Two `generate` calls prefill each of
their rows. Every completion is scored in a row of its own, with the video encoded once per row and logits over the
whole sequence, for the policy and for the reference. Both ways train the vision tower, on a random Qwen2.5-VL of 30 M
parameters in fp32 and one thread, with 8 ordered and 4 shuffled responses. The peer decodes as many tokens as this
project did, and scores and trains on this project's responses, so that loss and gradient must agree; the script asserts
it.

Every case runs twice: once for its CPU seconds, once for its memory. Memory is the peak of the resident set above the
start of a phase. It is measured in a process whose malloc gives every larger block back at once, so that tensors are
counted and not what malloc keeps (Linux, glibc). The last line is one JSON object.
"""
