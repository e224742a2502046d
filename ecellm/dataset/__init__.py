"""Samples: built or ingested, in the form that all later stages read."""
