"""The demo: its steps, the sheet and the page that they end in."""
