"""Programs beside the command: Horovod's build, and the benches. Run them as `python -m tfscale.scripts.NAME`."""
