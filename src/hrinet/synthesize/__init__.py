"""The methods, one a file, and the engine that runs them gap by gap."""
