"""The online half of vaegis: loads an exported model and scores records; needs no training library."""
