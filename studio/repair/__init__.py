"""When database and folders do not fit: what lies on disk and is not known, taken up again; what can be read, rescued."""
