"""What is refused, or warned about, before it costs anything."""
