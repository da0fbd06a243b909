"""The parts of the web page (tools/web_demo.py)."""
