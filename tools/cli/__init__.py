"""Parts of the tools' command lines."""
