"""The first real event through the whole house: a GitHub delivery becomes a Slack message."""
