"""What ``tools/figures.py`` draws, out of the models' own numbers."""
