"""Video, image and DICOM files to frames, in a limited child process."""
