"""From data set files to token examples: sources, formats, mixing, encoding, packing, cache."""
