"""Group statistics: tables in, tables out."""
