"""One straight page for each verb."""
