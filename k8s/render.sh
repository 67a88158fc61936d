#!/bin/sh
# Render the chart into the base and the demo component. Run it after a change of the chart; a test holds them equal.
set -eu
cd "$(dirname "$0")"
helm=${TASTEMAKER_HELM:-helm}
chart="$helm template tastemaker ../helm/tastemaker --namespace default --values base/values.yaml --skip-tests"
note='# Written by k8s/render.sh from helm/tastemaker. Do not edit.'
# The namespace is the overlay's business, and Helm is not there.
plain='/^ *namespace: default$/d; /^ *helm.sh\/chart: /d; /^ *app.kubernetes.io\/managed-by: Helm$/d'
{ echo "$note"; $chart | sed "$plain"; } > base/tastemaker.yaml
{ echo "$note"; $chart --set demo.enabled=true --show-only templates/jobs/demo.yaml | sed "$plain"; } > components/demo/demo.yaml
