"""Pairloom turns raw image–text pairs into training-ready pairs that are measurably better aligned."""

__version__ = "0.1.0"
