"""What the report shows: figures and sentences from the tables, pictures, charts, and the page itself."""
