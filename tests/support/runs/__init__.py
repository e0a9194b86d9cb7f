"""Runs of a toy network for tests, and the files they leave."""
