"""SFT, decoding and the T-GRPO step on a GPU.

    python -m speed.gpu [--sizes toy|3b|7b …] [--parts PART…] [--completion N]

Weights are random, of the real sizes (`toy`: for a trial on a CPU). Clips are noise: 16 frames of 448 × 224 pixels, the
most of the one-gpu profile, with prompts of about 1,440 tokens. Each part is measured in this process after a warm-up:

    agreement   how far log-probabilities of sampling are from scoring, in the training precision and in fp32
    sft         tokens per second with adapters and checkpointing
    decode      milliseconds per token of 12 and of 96 rows, adapters unmerged; the prefill of 16 prompts
    tgrpo       seconds of a step on 8 questions with adapters; the released way for one of them, times 8
    vision      the same without adapters, the vision tower frozen and trained; 7b needs more than 80 GB

The limit of decoding is the time in which the weights are read once per token. The limit of SFT and of a step is their
arithmetic at the peak of the device, plus the reading of weights. Limits and plans take the device's figures from
stages/planning/machine.py. The last line is one JSON object.
"""
