"""Files in and out: videos, run folders, pictures; foreign formats in folders of their own."""
