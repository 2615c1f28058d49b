"""What a model is tested with: benchmark questions and how they are put."""
