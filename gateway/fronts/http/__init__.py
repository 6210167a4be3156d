"""The HTTP front: the KServe v2 REST protocol with Triton's extensions, and metrics.

Start with front.py; app.py has the routes, rest.py what each answers, infer_json.py the form of an
inference request.
"""
