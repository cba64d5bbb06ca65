"""Rankings, groups and confidences against a ground truth."""
