from in_process import command_line

__all__ = ["command_line"]
