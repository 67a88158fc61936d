"""A stream of clicks and a ranker that learns from it while it serves: for items that live for hours.

Benchmarks replay logs to it (`replay`), and serving follows the events as they come in (`follow`).
"""
