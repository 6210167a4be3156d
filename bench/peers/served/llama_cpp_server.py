"""llama.cpp's own HTTP server, out of the package xllamacpp, on one GGUF file.

    python llama_cpp_server.py GGUF THREADS SLOTS CONTEXT

Tells its address on standard output, and serves until its standard input ends.
"""

import sys

import xllamacpp


def main() -> None:
    """Serve."""
    gguf, threads, slots, context = sys.argv[1], *map(int, sys.argv[2:])
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = slots
    params.n_ctx = slots * context
    # As on the other side: each prompt is read.
    params.cache_prompt = False
    params.n_gpu_layers = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


main()
