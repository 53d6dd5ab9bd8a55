"""The page of the service: markup, style and scripts, which `inline` joins into one document."""
