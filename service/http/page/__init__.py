"""The live page: its files, and the document that it polls."""
