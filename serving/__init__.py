"""Opened models behind HTTP and their files for others' servers, over `runtime` alone.

    server.py    the process: a socket, uvicorn, how it stops
    settings.py  what a user may set
    web/         the application: POST /predict, answers, metrics
    protocol/    the Open Inference Protocol under /v2
    intake/      bodies and pictures, bounded
    batching/    the queue
    triton/, deepstream/, client/   files for other servers, and a client of either

Importing this loads nothing: fastapi and uvicorn come with the process.
"""
