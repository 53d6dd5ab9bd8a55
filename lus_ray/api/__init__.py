"""What `import lus_ray as lus` offers: the commands as functions, their results as pandas tables.

`lus_ray/__init__.py` lists the names. Their files import torch and Ray inside functions, so that a
store opens at once.
"""
