"""What a user asks for, one file each that reads top to bottom."""
