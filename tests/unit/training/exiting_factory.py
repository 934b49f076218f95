"""A user's module that ends the program while it is imported."""

import sys

sys.exit("no licence for this model was found")
