"""T-GRPO, read in this order: rollout → rewards → advantages → scoring → loss → trainer.

Axes: B questions, G responses on ordered frames, K responses on contrast frames, R = B·G rows of the packed batch, C completion tokens,
L tokens of the packed row, V vocabulary.
"""
