# The image of every job: driver, Ray head, Ray worker, launcher.
#
#   docker build --target runtime-cpu -t lga:cpu .        OpenVINO and ONNX Runtime
#   docker build --target runtime -t lga:gpu .            the same, TensorRT and TensorRT for RTX
#
# Any base with python3 (3.11 or newer), its venv module and apt does; keep yours pinned by its digest. See
# deploy/README.md for a build without a registry.
#
# checkov:skip=CKV_DOCKER_2:a job ends by itself; for what runs longer KubeRay brings its own probes
# checkov:skip=CKV_DOCKER_7:the base is the argument below, by tag and digest
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# hadolint ignore=DL3006
FROM ${BASE} AS tools
ARG UV_VERSION=0.13.9
# uv stands outside of the environment that is copied on: no installer at run time.
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --quiet uv==${UV_VERSION} \
    && python3 -m venv --without-pip /opt/lga
WORKDIR /source
COPY pyproject.toml requirements.lock ./

FROM tools AS deps
# The lock as constraints: exactly its versions, held to its hashes, without the tools of developers. Compiled here, as
# the processes of a run may write nothing: each would compile torch again.
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --quiet --python /opt/lga/bin/python --link-mode copy --compile-bytecode --no-build \
        --constraint requirements.lock --requirement pyproject.toml \
        --extra openvino --extra heif --extra mlflow --extra cluster

FROM deps AS deps-gpu
# TensorRT itself is no wheel: its package fetches NVIDIA's own when it is built, so the lock cannot hold it. It belongs
# to the same CUDA as torch. Empty leaves it out, where NVIDIA cannot be reached.
ARG TENSORRT=tensorrt-cu13==11.4.0.106
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --quiet --python /opt/lga/bin/python --link-mode copy --compile-bytecode \
        --constraint requirements.lock --requirement pyproject.toml \
        --extra openvino --extra heif --extra mlflow --extra cluster --extra tensorrt-rtx ${TENSORRT}

FROM tools AS app
COPY . .
RUN /opt/uv/bin/uv pip install --quiet --no-cache --python /opt/lga/bin/python --no-deps --target /opt/app .

# hadolint ignore=DL3006
FROM ${BASE} AS system
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="LGA tagger" \
      org.opencontainers.image.description="Bulk action recognition in still photographs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# wget is what KubeRay's probes call. Versions come with the base, which is pinned by its digest.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tini wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 lga \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /bin/bash lga
# The root file system may be read-only: everything that is written goes to /tmp, which is a volume then. The last two
# are for networks on Ray's threads: workers/runtime.py says why.
ENV PATH=/opt/app/bin:/opt/lga/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    RAY_USAGE_STATS_ENABLED=0 \
    OMP_WAIT_POLICY=passive \
    MALLOC_ARENA_MAX=1
WORKDIR /tmp
USER 1000:1000
ENTRYPOINT ["tini", "--"]
CMD ["lga", "--help"]

FROM system AS runtime-cpu
COPY --from=deps /opt/lga /opt/lga
COPY --from=app /opt/app /opt/app

FROM system AS runtime
COPY --from=deps-gpu /opt/lga /opt/lga
COPY --from=app /opt/app /opt/app
