"""A user's module that fails while it is imported."""

raise ValueError("no licence for this model was found")
