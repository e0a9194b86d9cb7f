"""Servers, offline folders and calls for tests of loggers."""
