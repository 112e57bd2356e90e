"""The command `vp`: parses, calls, prints, exits; every import of weight happens inside a command."""
