"""The data plane's verbs: authenticate, admit, route, attempt, relay, settle."""
