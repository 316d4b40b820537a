"""The APIs of the emulated workspace, one a file."""
