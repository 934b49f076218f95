from hypothesis import settings

# No deadline: the first example pays for imports and for a cold disk.
settings.register_profile("raymu", deadline=None, max_examples=30)
settings.load_profile("raymu")
