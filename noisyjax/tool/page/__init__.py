"""Reports as one HTML file each: tables, pictures with contours, and decisions."""
