"""Masks of own images: PNG files, LabelMe and COCO."""
