"""Run folders: planning, the streaming loop and the steps that commands call."""
