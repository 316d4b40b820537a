"""The commands of Anthropic's memory tool, type ``memory_20250818``: what each does to the files, and what a model is
told. Pure.

The answers are those that the models know, also where a command is refused.
Source: https://docs.claude.com/en/docs/agents-and-tools/tool-use/memory-tool
"""
