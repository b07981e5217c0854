"""DNS as mail needs it."""
