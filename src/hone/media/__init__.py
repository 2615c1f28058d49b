"""Pictures, videos and sounds: where they come from, whether they may be opened, and how large they are."""
