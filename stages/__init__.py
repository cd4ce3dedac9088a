"""The pipeline: the files directly in here are its stages, in the order of dvc.yaml; the folders are the rooms they are built from."""
