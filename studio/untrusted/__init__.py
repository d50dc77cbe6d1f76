"""What comes in from elsewhere and could be anybody's: checked row by row before it is stored."""
