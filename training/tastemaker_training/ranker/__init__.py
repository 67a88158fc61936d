"""The ranker: the candidates that it learns from, the network, and how it is fitted."""
