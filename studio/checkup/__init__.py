"""What looks wrong with a PPO run, and what to do."""
