"""What ``tools/docs.py`` is made of: Markdown pages and the API reference as a static site."""
