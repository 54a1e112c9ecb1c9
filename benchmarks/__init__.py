"""Measurements, each as ratios within one run; results are kept in README.md."""
