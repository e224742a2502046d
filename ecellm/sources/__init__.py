"""Readers of raw data, one a source, and the made-up world."""
