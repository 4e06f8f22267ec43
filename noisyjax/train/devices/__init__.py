"""How a run is spread over devices and processes, and how it is stopped."""
