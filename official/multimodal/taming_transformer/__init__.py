"""VQGAN and transformers on MegEngine, inference only."""
