"""What is deployed, and templates of what it runs on, as data of the installed package."""
