"""The report: figures, sentences, charts, examples, and the page."""
