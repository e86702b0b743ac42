"""The commands as users write them: one module each, with its parameters and their help."""
