"""The pipeline: the files here are its stages, the folders their rooms."""
