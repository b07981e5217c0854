"""Benchmarks: each against a peer and against the limit, in one run, taking turns.

Run them with `python -m bench`; what the figures mean stands in `bench/README.md`.
"""
