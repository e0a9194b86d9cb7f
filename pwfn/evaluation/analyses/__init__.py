"""Analyse a finished network further, on request: one analysis a file, chosen by its name in conf/evaluate.yaml."""
