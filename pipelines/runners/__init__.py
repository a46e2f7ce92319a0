"""Beam runners: local worker processes, portable runners and Dataflow."""
