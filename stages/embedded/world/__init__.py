"""The shapes world: glyphs, scenes, and questions about them."""
