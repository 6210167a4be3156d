"""What is run of ``deploy/``: images, containers, and roles that are rolled under load.

``engine.py`` has containers, ``stores.py`` stores, ``roles.py`` roles as processes, ``proxy.py``
what stands before gateways, ``callers.py`` their clients.
"""
