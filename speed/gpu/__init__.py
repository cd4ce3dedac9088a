"""SFT, decoding and the T-GRPO step on a GPU.

    python -m speed.gpu [--sizes toy|3b|7b …] [--parts PART…] [--completion N] [--out FILE]

Weights are random, of the real sizes (`toy`: for a trial on a CPU). Clips are noise: 16 frames of 448 × 224 pixels, the
most of the one-gpu profile, with prompts of about 1,440 tokens. Each part is measured in this process after a warm-up.
The parts, the most important first:

    agreement   how far log-probabilities of sampling are from scoring, in the training precision and in fp32
    tgrpo       seconds of a step on 8 questions with adapters; the released way for one of them, times 8
    decode      milliseconds per token of 12 and of 96 rows, adapters unmerged; the prefill of 16 prompts
    vision      the step with adapters, the vision tower frozen, trained in full, and with adapters of its own
    sft         tokens per second with adapters and checkpointing, without and with kept vision features
    full        the step without adapters, the tower frozen and trained; 7b needs more than 80 GB

Three calls of a few minutes each cover the goals; `--out` keeps what is done, so that a call that was cut off is
repeated as it is:

    python -m speed.gpu --sizes 7b --parts agreement tgrpo decode --out rows.json
    python -m speed.gpu --sizes 7b --parts vision --out rows.json
    python -m speed.gpu --sizes 3b --parts sft full agreement --out rows.json

The limit of decoding is the time in which the weights are read once per token. The limit of SFT and of a step is their
arithmetic at the peak of the device, plus the reading of weights. Limits and plans take the device's figures from
stages/planning/machine.py. The last line is one JSON object: size, part, row.
"""
