"""How files and folders that may stand beside others of the same name are written: nothing that was there before is emptied or lost."""
