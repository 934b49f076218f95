"""Pictures: their forms in a column, how they are decoded, and their augmentation."""
