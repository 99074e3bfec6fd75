# `dfdc serve` on a CPU. Tried by hand in a fresh environment, without docker: its packages take 5.7 GB, nearly all of them
# the CUDA libraries that the ordinary build of torch brings, and the code takes 47 MB.
#   docker build -f deploy/serve.Dockerfile -t dfdc-serve .
#   docker run -p 127.0.0.1:8000:8000 -e DFDC_TOKEN="$(openssl rand -hex 24)" -v dfdc-data:/data dfdc-serve
FROM python:3.12-slim-bookworm

WORKDIR /dfdc
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir uv
# The packages first: a change in the code does not install them again.
COPY pyproject.toml requirements.txt README.md ./
COPY common/__init__.py common/__init__.py
COPY dfdc.py dfdc.py
RUN .venv/bin/uv pip install --no-cache --python .venv/bin/python -r requirements.txt -r pyproject.toml --extra serve

COPY . .
RUN .venv/bin/uv pip install --no-cache --python .venv/bin/python --no-deps --editable .

ENV PATH=/dfdc/.venv/bin:$PATH HOME=/data
# Videos of strangers are read by somebody who may write nothing else.
RUN useradd --uid 1000 --home-dir /data dfdc && mkdir -p /data && chown dfdc /data
USER dfdc
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"
# 0.0.0.0 inside the container demands DFDC_TOKEN, whatever -p says outside.
ENTRYPOINT ["dfdc", "serve", "--host", "0.0.0.0", "--data", "/data/serve"]
