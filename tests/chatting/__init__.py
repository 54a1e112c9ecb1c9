"""Tests of chats, and what they share."""
