"""Networks: maps from frames, detections from maps. The only package, with training, that imports torch."""
