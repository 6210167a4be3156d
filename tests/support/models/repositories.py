"""Model repositories of files that are no models: what is in them matters to nobody here."""


def put(root, files):
    """Write *files*, path below *root* -> content, and return *root*."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def artifacts(*names):
    """Files with some content each: every name its own."""
    return {name: f"content of {name}" for name in names}
