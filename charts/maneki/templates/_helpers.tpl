{{- define "maneki.image" -}}
{{ .root.Values.image.registry }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "maneki.labels" -}}
app.kubernetes.io/part-of: maneki
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "maneki.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A pod on the nodes' own network, which works where there is no pod network yet, on every node. */ -}}
{{- define "maneki.hostPod" -}}
hostNetwork: true
nodeSelector: {kubernetes.io/os: linux}
tolerations:
  - {operator: Exists, effect: NoSchedule}
  - {operator: Exists, effect: NoExecute}
  - {key: CriticalAddonsOnly, operator: Exists}
{{- end }}

{{- define "maneki.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Rules to read what is computed from: the kinds of typha/sync. The argument is the verbs. */}}
{{- define "maneki.computedFrom" }}
  - apiGroups: [projectcalico.org]
    resources:
    - bgpconfigurations
    - bgpfilters
    - bgppeers
    - felixconfigurations
    - globalnetworkpolicies
    - globalnetworksets
    - hostendpoints
    - ipamblocks
    - ippools
    - networkpolicies
    - networksets
    - stagedglobalnetworkpolicies
    - stagedkubernetesnetworkpolicies
    - stagednetworkpolicies
    - tiers
    verbs: [{{ . }}]
  - {apiGroups: [""], resources: [nodes, namespaces, pods, serviceaccounts], verbs: [{{ . }}]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [{{ . }}]}
  - {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [{{ . }}]}
  - {apiGroups: [policy.networking.k8s.io], resources: [clusternetworkpolicies], verbs: [{{ . }}]}
  # Whether the cluster has such policies at all: that an API server does not serve them proves nothing.
  - apiGroups: [apiextensions.k8s.io]
    resources: [customresourcedefinitions]
    resourceNames: [clusternetworkpolicies.policy.networking.k8s.io]
    verbs: [list]
{{- end }}
