# docker build -t taming-megengine . && docker run --rm -v "$PWD/outputs:/app/outputs" taming-megengine
FROM python:3.10-slim

# OpenCV's wheel, which MegEngine imports, links to these; their versions are the base image's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir -r requirements.txt
COPY . .

ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python"]
CMD ["tools/demo.py"]
