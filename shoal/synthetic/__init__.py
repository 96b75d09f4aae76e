"""The aquarium: rendered fish with exact ground truth."""
