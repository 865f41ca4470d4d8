"""What any part of the program may need: text, files, disks, signals, progress, errors."""
