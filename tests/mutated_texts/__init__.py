"""Texts that nobody would write, made of texts that somebody would: each gives an answer or an error of ours."""
