"""Chat: conversations with checkpoints. One answers, or two side by side, and answers are judged where they stand."""
