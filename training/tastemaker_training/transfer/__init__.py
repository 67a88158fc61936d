"""Beginning with what others have learned: a first bundle for a platform without events."""
