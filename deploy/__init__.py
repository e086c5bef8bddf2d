"""Ways to run the product: the command line, the stack on one machine, the local twins."""
