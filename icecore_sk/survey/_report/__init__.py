"""The parts of the report: what goes into the page, and the page itself."""
