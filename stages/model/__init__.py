"""Models and their inputs: the Qwen2.5-VL and Qwen3-VL families, the embedded tiny model, generation and the teacher's side of a chat."""
