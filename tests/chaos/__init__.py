"""Broken on purpose: one file a fault. After each, the same command gives what an undisturbed run gives."""
