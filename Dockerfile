# The operator's image. Build it from the root of the repository:
#   docker build -t canary-operator .
# It runs as uid 65532 with a read-only root file system and writes to /tmp alone: mirrors of Git repositories, and keys for them.
# From 3.13 on, Python refuses API servers whose certificates lack extensions that many clusters' certificates lack.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ARG UV_VERSION=0.13.8
RUN pip install --no-cache-dir uv==${UV_VERSION}
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY canary canary
COPY loadtest loadtest
COPY examples/podinfo-2020.yaml examples/
# The wheel, and around it what it requires, at the versions of the lock and with its hashes; neither tools of development nor Envoy.
RUN uv build --wheel --build-constraints requirements.lock --out-dir /dist \
 && python -m venv --without-pip /venv \
 && uv pip install --python /venv/bin/python --no-cache --compile-bytecode --verify-hashes --constraints requirements.lock /dist/*.whl
# Constraints limit what they name and let the rest pass, so whatever the lock does not pin ends the build.
RUN uv pip freeze --python /venv/bin/python | grep -v '^canary-operator @' | sort > /tmp/installed \
 && sed -nE 's/^([a-z0-9][a-z0-9._-]*==[^ ;]+).*/\1/p' requirements.lock | sort > /tmp/pinned \
 && comm -23 /tmp/installed /tmp/pinned > /tmp/unpinned \
 && if [ -s /tmp/unpinned ]; then echo "not in requirements.lock:" && cat /tmp/unpinned && exit 1; fi \
 && /venv/bin/canary version

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="canary-operator" \
      org.opencontainers.image.description="Progressive delivery for Kubernetes, a drop-in for Flagger" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# git and ssh write outcomes to Git, gpg and its agent sign commits where a sink has a key for them; ssh refuses to run as a user without a name.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git gpg gpg-agent openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 canary \
 && useradd --uid 65532 --gid 65532 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin canary
COPY --from=build /venv /venv
ENV PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["canary"]
CMD ["run"]
