"""Training: images and labels -> crops -> a network; one loop, one recipe per task."""
