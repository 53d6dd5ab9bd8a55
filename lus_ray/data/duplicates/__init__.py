"""Near-duplicate clips, and the groups of patients that share them."""
