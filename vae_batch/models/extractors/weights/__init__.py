"""Published weight files: finding, downloading, checking and reading them."""
