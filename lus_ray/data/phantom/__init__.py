"""The simulator of lung-ultrasound clips."""
