"""Tests of det_files.local; those that start processes run the trial in tiny_trial.py."""
