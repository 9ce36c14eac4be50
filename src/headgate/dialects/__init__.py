"""Pure translators between OpenAI's wire format and an upstream's."""
