"""BIDS: which scans a dataset holds, what its text tables say, whether it is valid, and derivatives written back."""
