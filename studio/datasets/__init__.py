"""Other people's files: opened within bounds, and read into rows with named columns, whatever program wrote them."""
