"""Commands that measure the tests, and publish the figures in the docs."""
