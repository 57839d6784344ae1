# A worker: torch and the model. It serves the weights of this repository unless another folder is mounted and named.
# The native code, built where there is a compiler: the image that runs has none.
FROM python:3.11-slim AS kernel
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY model model
RUN python -m model.native.build model/native

FROM python:3.11-slim

# An idle OpenMP thread that spins steals the core of one that works.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app NUWA_DATA=/data OMP_WAIT_POLICY=PASSIVE
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin nuwa && install -d -o nuwa -g nuwa /data
WORKDIR /app

# Dependencies come first and from pyproject.toml alone, so a change of code does not install them again.
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py worker > requirements.txt && pip install --no-cache-dir -r requirements.txt

COPY checkpoints checkpoints
COPY canvas canvas
COPY jobs jobs
COPY model model
COPY --from=kernel /build/model/native/*.so model/native/
COPY workers workers
COPY cli cli

USER 10001
VOLUME /data
HEALTHCHECK --interval=10s --timeout=8s --start-period=120s --retries=3 \
    CMD ["python", "-m", "cli.main", "worker", "--check"]
ENTRYPOINT ["python", "-m", "cli.main"]
CMD ["worker"]
