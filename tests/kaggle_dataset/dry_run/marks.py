"""Tell a run that it was looked at: it waits for that instead of for seconds."""

from kaggle_dataset.dry_run.resource_monitor import ResourceMonitor

# Python lines for a run: go on when the mark is in the working folder.
WAIT_FOR_LOOK = "import os, time\nwhile not os.path.exists('looked'): time.sleep(0.02)"


def mark_looks(patch, least=0):
    """Leave the file `looked` in the working folder as soon as a look has seen `least` bytes of memory."""
    look = ResourceMonitor.look_at_memory

    def look_and_mark(self):
        look(self)
        if self.memory > least:
            (self.folders[0] / "looked").touch()

    patch.setattr(ResourceMonitor, "look_at_memory", look_and_mark)
