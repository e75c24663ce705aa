"""The configuration file: its model, its loading, and all that can be said about what is wrong with it."""
