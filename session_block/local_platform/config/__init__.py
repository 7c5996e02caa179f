"""The setup of a platform: settings, accounts, instances, layout."""
