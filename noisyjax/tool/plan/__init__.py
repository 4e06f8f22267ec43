"""What a folder's training should be: found from its images and labels, with reasons."""
