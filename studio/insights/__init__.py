"""What the ratings tell, and how surely."""
