"""Workers: which jobs they take, where they deliver exports, and how they are watched."""
