"""``lga submit``: another command as a Ray job."""
