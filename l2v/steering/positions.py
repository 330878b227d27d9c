"""The names of the positions that an intervention may write to; what each means: Intervention in hook.py."""

POSITIONS = ("all", "text", "generated", "decode", "prompt", "release")
