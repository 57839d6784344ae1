# The gateway: FastAPI and a Redis client on plain Python. No torch, no model: about 200 MB.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app NUWA_DATA=/data
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin nuwa && install -d -o nuwa -g nuwa /data
WORKDIR /app

# Dependencies come first and from pyproject.toml alone, so a change of code does not install them again.
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py server > requirements.txt && pip install --no-cache-dir -r requirements.txt

COPY canvas canvas
COPY jobs jobs
COPY server server
COPY cli cli

USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["python", "-m", "cli.main"]
CMD ["gateway", "--host", "0.0.0.0", "--port", "8000"]
