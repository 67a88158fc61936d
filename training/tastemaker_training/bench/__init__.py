"""What training costs, and bundles of any size to measure serving with."""
