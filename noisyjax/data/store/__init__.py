"""Prepared cases on the disk, of which parts are read alone."""
