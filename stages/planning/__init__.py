"""What a training run needs, worked out before it starts: size of the model → work of a step → memory → hours."""
