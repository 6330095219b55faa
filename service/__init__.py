"""The online half of vaegis: it loads an exported model and scores records, without a training library."""
