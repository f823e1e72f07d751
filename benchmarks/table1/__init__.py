"""Trials: one network trained with one seed and measured on the test split, and what the benchmarks make of many."""
