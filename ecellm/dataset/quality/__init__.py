"""What a build says about its own data: duplicates, leakage, answers, lengths, what was left out."""
