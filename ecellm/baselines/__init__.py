"""The other side of the table: classical floors, and models that are made for one task each."""
