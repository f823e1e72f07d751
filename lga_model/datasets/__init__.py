"""Data sets as annotations: each module reads one raw format, or renders one."""
