"""Stages: arrays in, arrays out. No torch, no files, no clock, no global random state."""
