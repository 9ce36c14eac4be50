"""Our Anthropic and Gemini bodies beside those that LiteLLM makes of the same requests (`make compare`)."""
