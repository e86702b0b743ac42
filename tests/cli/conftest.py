import signal

from tests.support.command_line import command_line

__all__ = ["command_line"]

# Commands that tests start inherit what is ignored, for example if the tests themselves run under nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
