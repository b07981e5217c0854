"""The local stand-in for the three ESPs: their wire formats, limits, errors and moods."""
