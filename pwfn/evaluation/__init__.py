"""What a finished network is worth, measured without ever showing a label to a predictor."""
