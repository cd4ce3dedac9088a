"""The embedded shapes world: scenes, questions, their teacher and a tiny model."""
