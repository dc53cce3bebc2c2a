"""Layers of the frozen upstream: computed when needed, or read from a cache."""
