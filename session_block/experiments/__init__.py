"""What users hold: experiments, their jobs and durable primitives."""
