"""The chaos run: real servers, emulated clouds, and a `kill -9` in the life of every pipeline run.

``python -m tests.chaos --runs 200 --seed 1`` runs it and prints its counts; ``tests/live/test_chaos.py`` is its short
form.
"""
