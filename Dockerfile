# images/build.sh builds it. Nothing is installed when a task starts.
ARG BASE_IMAGE=python:3.11-slim

# Empty, unless a folder of wheels is given: `--build-context wheels=FOLDER`.
FROM scratch AS wheels

FROM ${BASE_IMAGE} AS package
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY rlnas rlnas
COPY components components
COPY pipelines pipelines
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m pip wheel --no-cache-dir --no-deps --find-links /wheels --wheel-dir /dist .

FROM ${BASE_IMAGE}
# A URL with a password would stay in the image's history: put that into the secret pip.conf.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY images/requirements.lock /opt/rlnas/requirements.lock
# From the rarest change to the most frequent: torch, everything else, this package. Only the last is new after a change of code.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/rlnas && \
    /opt/rlnas/bin/pip install --no-cache-dir --find-links /wheels --constraint /opt/rlnas/requirements.lock torch torchvision
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/rlnas/bin/pip install --no-cache-dir --find-links /wheels --requirement /opt/rlnas/requirements.lock
# Copied, because buildah 1.28 takes a mount from another stage for the same whatever is in it.
COPY --from=package /dist /opt/rlnas/dist
RUN /opt/rlnas/bin/pip install --no-cache-dir --no-index --no-deps /opt/rlnas/dist/*.whl && /opt/rlnas/bin/pip check

# The root may be read-only and the user any number: all that is written goes to /tmp, and nobody is looked up by name.
ENV PATH=/opt/rlnas/bin:$PATH \
    HOME=/tmp USER=rlnas XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
USER 10001:10001
# No ENTRYPOINT: it would swallow the command that Kubeflow gives.
CMD ["rlnas", "--help"]

ARG VERSION=unknown
ARG COMMIT=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="rlnas" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"
