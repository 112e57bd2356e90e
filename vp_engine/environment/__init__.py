"""Omega: the persistent environment that checks and runs the programs of the agent, without ever executing Python."""
