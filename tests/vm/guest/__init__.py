"""What runs inside the virtual machine; the image carries these modules under the same names."""
