"""The workbench: workspace, SQLite, import and export, runs, launcher, worker and the command line. No widgets here."""
