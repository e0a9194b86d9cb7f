"""Damage, read and measure artifacts in tests."""
