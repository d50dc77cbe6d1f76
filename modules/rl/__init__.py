"""The parts of PPO: rewards, experience, advantages, one update, evaluation, and which policy is handed on."""
