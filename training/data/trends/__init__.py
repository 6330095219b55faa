"""Columns whose values change as time goes on: times, counters, years, and lists to which values are added."""
