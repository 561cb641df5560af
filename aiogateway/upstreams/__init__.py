"""Who answers, over which connection."""
