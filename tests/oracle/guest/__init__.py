"""What runs inside the virtual machine; the image has no part of it."""
