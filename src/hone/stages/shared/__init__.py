"""What several stages share; the stages themselves are the files of the folder above."""
