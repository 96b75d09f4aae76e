"""The DLC edge: the only place that knows DeepLabCut's files, words, pandas and pickle."""
