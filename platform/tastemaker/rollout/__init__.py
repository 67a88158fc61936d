"""Changing the model that is served: colours, routing between them, rollouts and their decisions."""
