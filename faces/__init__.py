"""What is on the screen: frames out of videos, faces out of frames, people over frames, crops out of faces."""
