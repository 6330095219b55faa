"""Counting in memory that all processes of one service share, so that each can tell the sums."""
