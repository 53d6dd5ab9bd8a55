"""Views of clips and augmentations."""
