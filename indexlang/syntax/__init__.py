"""Text to tree and back: lexer, parser, canonical layout, and the mistakes of characters, words and lines."""
