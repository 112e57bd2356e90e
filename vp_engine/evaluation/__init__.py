"""Suites that say how good the parts are, with confidence intervals."""
