"""config.pbtxt: what each part of it means.

Start with model_config.py; fields.py lists what Penstock does with every field.
"""
