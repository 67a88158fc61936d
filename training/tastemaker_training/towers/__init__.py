"""The two-tower retrieval model: what it is, what it learns from, and how it is fitted on Ray."""
