"""Specify and make the values that weights may share."""
