"""oomd against its rivals in the storms of a virtual machine, and the table that shows it."""
