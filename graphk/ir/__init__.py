"""The three intermediate representations: Graph, Kernel and Program.

All are immutable data whose text form parses back (`graphk.ir.text`); each has a verifier
(`graphk.ir.verify`), and Graph has a numpy interpreter (`graphk.ir.interp`), the oracle for all else.
"""
