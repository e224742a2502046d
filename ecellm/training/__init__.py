"""Training rows in, a tuned model out: adapters or all weights, on any number of Ray Train workers."""
