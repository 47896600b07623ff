"""What the lessons look at, computed as arrays: no widget and no picture is needed to import anything here."""
