# The image of every job: driver, Ray head, Ray worker, launcher.
#
#   docker build --target runtime-cpu -t lga:cpu .        OpenVINO and ONNX Runtime
#   docker build --target runtime -t lga:gpu .            the same and TensorRT
#
# Pin the base in production: --build-arg BASE=python:3.11-slim-bookworm@sha256:... Any base with python3 (3.11 or newer),
# its venv module and apt does. See deploy/README.md for a build without a registry.
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS deps
ARG UV_VERSION=0.13.9
# uv stands outside of the environment that is copied on: no installer at run time.
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --quiet uv==${UV_VERSION} && python3 -m venv --without-pip /opt/lga
WORKDIR /source
COPY pyproject.toml requirements.lock ./
# The lock as constraints: exactly its versions, held to its hashes, without the tools of developers.
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --quiet --python /opt/lga/bin/python --link-mode copy --no-build --constraint requirements.lock \
        --requirement pyproject.toml --extra openvino --extra heif --extra mlflow --extra cluster

FROM deps AS deps-gpu
# TensorRT's package fetches NVIDIA's libraries itself, so it is not in the lock and needs a build.
ARG TENSORRT_VERSION=10.13.3.9
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --quiet --python /opt/lga/bin/python --link-mode copy "tensorrt==${TENSORRT_VERSION}"

FROM deps AS app
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
    && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash lga
ENV PATH=/opt/app/bin:/opt/lga/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
# The root file system may be read-only: everything that is written goes to /tmp, which is a volume then.
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
