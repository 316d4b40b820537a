"""The demo of `lakemem demo`: a conversation with an agent that remembers."""
