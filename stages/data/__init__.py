"""Records, samples, prompts, answers and stores, without torch."""
