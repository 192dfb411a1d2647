"""Image sizes that spaces search, in pixels."""

PHOTOGRAPH_RESOLUTIONS = tuple(range(128, 257, 4))
SMALL_IMAGE_RESOLUTIONS = tuple(range(32, 97, 4))
