"""Tables: their schemas, Parquet in and out, and the collection of records."""
