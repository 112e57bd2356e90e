"""The language of prompts: a generative grammar in data files, and the programs its sentences stand for."""
