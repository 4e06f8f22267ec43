"""What a folder's training should be: found from its images and labels, written down with reasons."""
