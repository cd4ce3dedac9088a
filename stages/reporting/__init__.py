"""The report: figures and sentences from the tables, charts, pictures, and the page."""
