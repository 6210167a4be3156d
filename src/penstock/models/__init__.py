"""Models as their owners describe them: Triton's configuration and files. Nothing here sees Redis.

Start with config/model_config.py; completion.py adds what artifacts tell.
"""
