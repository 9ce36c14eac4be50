"""The steps from one schema to the next, for Alembic. A step that was released is never changed."""
