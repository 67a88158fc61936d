# The one image: edge, ingest, operator, models, training, MLflow and the bundled Valkey are all commands in it.
#
#   buildah build -t registry.example.com/tastemaker:0.1.0 .          # or: docker build
#   … --build-arg EXTRAS=serving                                       # lean: no training, no MLflow server
#   … --build-arg BASE=docker.io/rayproject/ray:2.60.0-py311-gpu --build-arg PIP_EXTRA_INDEX_URL=   # CUDA, on Ray's GPU base
#
# Layers from the seldom to the often changed: a change of code rebuilds the last two in seconds.
ARG BASE=docker.io/library/python:3.11-slim

# What pyproject.toml asks for, as a file of its own: any other change there leaves the layer below in the cache.
FROM ${BASE} AS requirements
ARG EXTRAS=serving,training,operator,monitoring,kserve,telemetry
COPY pyproject.toml /tmp/
RUN python3 -c "import os, tomllib; \
      project = tomllib.load(open('/tmp/pyproject.toml', 'rb'))['project']; \
      extras = [project['optional-dependencies'][name] for name in os.environ['EXTRAS'].split(',')]; \
      print(*sorted(set(sum(extras, project['dependencies']))), sep='\n')" > /tmp/requirements.txt

FROM ${BASE} AS dependencies
# Where the CPU build of torch lies; PyPI's own Linux wheel brings gigabytes of CUDA.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# A folder or page with further wheels, for builds without the internet.
ARG PIP_FIND_LINKS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
USER root
RUN python3 -m venv /opt/venv
COPY --from=requirements /tmp/requirements.txt /tmp/
COPY constraints.txt /tmp/
RUN /opt/venv/bin/pip install --quiet --constraint /tmp/constraints.txt --requirement /tmp/requirements.txt hatchling

FROM dependencies AS code
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
COPY training training
COPY serving serving
COPY monitoring monitoring
RUN /opt/venv/bin/pip install --quiet --no-deps --no-build-isolation --target /opt/tastemaker .

FROM ${BASE}
LABEL org.opencontainers.image.title=tastemaker org.opencontainers.image.licenses=Apache-2.0
USER root
RUN groupadd --gid 10001 tastemaker \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/tastemaker --create-home --shell /usr/sbin/nologin tastemaker
COPY --from=dependencies /opt/venv /opt/venv
# KubeRay starts pods with a login shell, which forgets the PATH below.
RUN ln -s /opt/tastemaker/bin/tastemaker /opt/venv/bin/ray /opt/venv/bin/serve /usr/local/bin/
COPY data/movielens-small /opt/tastemaker/data/movielens-small
COPY --from=code /opt/tastemaker /opt/tastemaker
# The root is meant to be read-only: state goes to the home, scratch to /tmp, and modules were compiled above.
ENV PATH=/opt/tastemaker/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/tastemaker PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/tastemaker TASTEMAKER_HOME=/var/lib/tastemaker RAY_USAGE_STATS_ENABLED=0
WORKDIR /var/lib/tastemaker
USER 10001:10001
ENTRYPOINT ["tastemaker"]
