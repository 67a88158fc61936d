"""The quality benchmarks: models measured on public splits by the conventions of their published tables."""
