"""What ``tools/evaluate.py`` is made of: pictures in, figures and reports out."""
