"""Training of what the demo and the tests score; scoring needs none of it."""
