"""What a list of recommendations is worth: accuracy, calibration, novelty, diversity."""
