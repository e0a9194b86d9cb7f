"""Follow the last round: finishing, artifact, final files, and what to do next."""
