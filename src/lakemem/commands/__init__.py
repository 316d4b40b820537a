"""The commands of the command line, a file each: `add` describes one, and its `run` does it."""
