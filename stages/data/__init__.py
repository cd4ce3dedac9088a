"""Records, answers, prompts, parameters and stores: what every other room builds on. Imports no other room and no torch."""
