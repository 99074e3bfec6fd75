"""Work that outgrows one machine: units of videos, engines that run them, and the merge of what they made."""
