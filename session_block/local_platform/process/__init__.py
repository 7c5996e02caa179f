"""The server's process: started, found, embedded, administered."""
