"""The agent: a small language model that turns prompts into programs, under the grammar of the op registry."""
