"""Pictures and videos: reading, resizing, placing on the canvas."""
