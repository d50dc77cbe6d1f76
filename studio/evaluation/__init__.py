"""What checkpoints can and cannot do: suites, results item by item, paired differences, and the alignment-tax report."""
