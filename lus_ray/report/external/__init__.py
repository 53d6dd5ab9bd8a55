"""External tests in a report: the page of an evaluation, and the section of its run."""
