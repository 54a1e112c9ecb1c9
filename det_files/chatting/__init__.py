"""Talking with a trained model: the conversation, its commands, a console and a page."""
