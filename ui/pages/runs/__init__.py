"""Runs: every run, and of the chosen one its curves, samples, rollouts, log and controls."""
