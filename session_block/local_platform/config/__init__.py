"""What a platform is set up with: settings, accounts, instances, layout."""
