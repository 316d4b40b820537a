"""The worker side of runs: claims them, lets a handler work on them, and stores what it emits."""
