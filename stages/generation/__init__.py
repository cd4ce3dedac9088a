"""Generation: the responses of a model to prompts, for rollouts and evaluation."""
