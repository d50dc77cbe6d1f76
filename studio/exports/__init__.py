"""What is exported of texts and ratings: read row by row, so that a million take no more memory than a hundred."""
