"""Rules that keep or drop samples, and the training sets."""
