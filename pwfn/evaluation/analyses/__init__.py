"""Analyse a finished network further: one analysis a file, chosen by name in conf/evaluate.yaml."""
