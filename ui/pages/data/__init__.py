"""Data: brings in files after a look at them, shows what is there, exports."""
