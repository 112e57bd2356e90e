"""The report: tables to figures and one HTML file."""
