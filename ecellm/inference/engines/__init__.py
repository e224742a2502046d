"""The engines, by name: each runs a model behind the `Engine` protocol."""
