"""A plugin for Pairloom; `pyproject.toml` says what it adds."""
