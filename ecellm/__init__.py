"""eCeLLM on Ray: build ECInstruct, tune language models on it, answer its tests and score the answers."""

__version__ = "0.1.0"
