"""What `hone plan` reads off a model and its data, and the short training that it measures."""
