"""What earlier versions wrote and this one reads."""
