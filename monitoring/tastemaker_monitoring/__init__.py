"""Watching a live recommender: rules, dashboards and drift checks that read what the platform records."""
