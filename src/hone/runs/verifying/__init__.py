"""What `hone verify` holds against each other, on what, and how it is told."""
