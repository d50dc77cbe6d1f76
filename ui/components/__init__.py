"""What more than one page is made of: forms, charts, pieces of HTML, the look, kept texts, notifications."""
