"""Models, their inputs and their training: the Qwen2.5-VL and Qwen3-VL families."""
