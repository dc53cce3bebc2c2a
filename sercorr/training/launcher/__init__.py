"""Many processes at once: on this machine (``--jobs N``), or through Slurm.

A launch is made of works (`works.Work`), each a command of its own that goes on where
it stopped. Their records and logs are below the run's folder:

    <folder>/jobs/<work>/{work.json, task.json, output.txt}
"""
