"""The models that propose candidates beside the two towers: each can be asked for scores of the whole catalogue."""
