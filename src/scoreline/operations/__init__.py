"""An installation looked at and looked after."""
