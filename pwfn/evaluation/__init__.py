"""Measure finished networks, without ever showing a label to a predictor."""
