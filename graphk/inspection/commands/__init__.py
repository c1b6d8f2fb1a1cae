"""The commands of the command line, a module each.

What every module offers: `HELP` (a line), `DESCRIPTION`, `arguments(parser)`, and `run(args)`, which does the work and
gives the exit code.  What always holds: a module imports nothing heavy before `run`; what was asked for goes to
standard output, what graphk has to say beside it to standard error; a mistake of the user's is a `CommandError`.
"""
