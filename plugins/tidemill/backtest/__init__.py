"""What a retraining policy would have done: history, window by window, through the pipeline's own steps."""
