"""The migrations, a file for each set of tables; none of them is ever changed."""
