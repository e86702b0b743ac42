"""nginx with static responses in a separate process, which costs so little that the clients' cost shows."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["static_server"]

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
    types {{ text/csv csv; }}
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    open_file_cache max=100;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {folder}/root;
    }}
}}
"""


@contextmanager
def static_server(files: Mapping[str, bytes | Path]) -> Iterator[str]:
    """Serve contents by path, ignoring queries. Yields the origin of the server.

    Raises:
        FileNotFoundError: nginx is not installed.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        raise FileNotFoundError("nginx is not installed: `apt-get install nginx-light`")
    with tempfile.TemporaryDirectory(prefix="indigo-nginx-") as name:
        folder = Path(name)
        for path, content in files.items():
            place = folder / "root" / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                place.symlink_to(content)
            else:
                place.write_bytes(content)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        user = "user root;" if os.getuid() == 0 else ""  # else its worker could not read the folder
        (folder / "nginx.conf").write_text(_CONFIGURATION.format(user=user, folder=folder, port=port))
        process = subprocess.Popen([nginx, "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"])
        try:
            _wait_until_listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_listening(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("nginx does not listen")
