"""The models that are served: versions are loaded, checked, compared in shadow, promoted and replaced."""
