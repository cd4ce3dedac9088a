"""Curation: the rules that keep or drop a sample, and the data set that comes out."""
