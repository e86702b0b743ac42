"""What the commands do. A command imports its runner when it runs."""
