{{- /* The argument has the root and the image's name. A digest wins over the tag. */ -}}
{{- define "maneki.image" -}}
{{- $digest := index .root.Values.image.digest .name -}}
{{ .root.Values.image.registry }}/{{ .name }}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end }}
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
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /*
A container that changes its node: root's files, and of root's rights the capabilities in the list that is the argument. It is not
privileged. Where there is SELinux, the type is the one that may work on files of the host, which privileged containers have.
*/ -}}
{{- define "maneki.onHost" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
capabilities: {drop: [ALL], add: [{{ join ", " . }}]}
seccompProfile: {type: RuntimeDefault}
seLinuxOptions: {type: spc_t}
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

{{- /*
maneki.incomplete is a CEL expression: a policy lacks its types, or the label with its tier.
*/ -}}
{{- define "maneki.incomplete" -}}
object.?metadata.?labels[?'projectcalico.org/tier'].orValue('') != object.?spec.?tier.orValue('default')
|| object.?spec.?tier.orValue('') == '' || size(object.?spec.?types.orValue([])) == 0
{{- end }}

{{- /*
maneki.plainSelector is a CEL expression: the string . is a selector of up to 256 characters whose form shows that it is right: labels,
has(), ==, !=, in and not in, with && and || between. What is quoted has no "(", so that it can't be taken for global().
*/ -}}
{{- define "maneki.plainSelector" }}
{{- $label := "[A-Za-z0-9_./-]+" }}
{{- $text := `('[^'"(]*'|"[^'"(]*")` }}
{{- $term := printf `(!?has\(%s\)|%s *(==|!=) *%s|%s +(not +)?in *\{ *%s( *, *%s)* *\})` $label $label $text $label $text $text }}
(size({{ . }}) <= 256 && ({{ . }} in ['', 'all()'] || {{ . }}.matches(r'''^ *{{ $term }}( *(&&|\|\|) *{{ $term }})* *$''')))
{{- end }}

{{- /*
maneki.plainPolicy is a CEL expression: a policy that the CRD accepts is right, and calls for no warning, as far as its form shows: it
has few rules, and nothing in them but protocols by name, plain selectors, IPv4 networks and ports by number. The bounds of what is
looked at keep the cost, which API servers limit, well below what they allow.
*/ -}}
{{- define "maneki.plainPolicy" -}}
!has(object.spec)
|| object.spec.all(k, k in ['tier', 'order', 'types', 'selector', 'namespaceSelector', 'stagedAction', 'ingress', 'egress'])
&& object.spec.?stagedAction.orValue('Set') == 'Set'
&& object.spec.?tier.orValue('default').matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')
&& [object.spec.?selector.orValue(''), object.spec.?namespaceSelector.orValue('')].all(s, {{ include "maneki.plainSelector" "s" }})
&& (!has(object.spec.types) || ['Ingress', 'Egress'].all(t,
  t in object.spec.types || size(object.spec[?t.lowerAscii()].orValue([])) == 0))
&& [object.spec.?ingress.orValue([]), object.spec.?egress.orValue([])].all(rules, size(rules) <= 10 && rules.all(r,
  r.all(k, k in ['action', 'protocol', 'source', 'destination']) && has(r.action)
  && (!has(r.protocol) || r.protocol in ['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6', 'UDPLite'])
  && [r.?source.orValue({}), r.?destination.orValue({})].all(e,
    e.all(k, k in ['selector', 'notSelector', 'namespaceSelector', 'nets', 'ports'])
    && [e.?selector.orValue(''), e.?notSelector.orValue(''), e.?namespaceSelector.orValue('')].all(s, {{ include "maneki.plainSelector" "s" }})
    && size(e.?nets.orValue([])) <= 8
    && e.?nets.orValue([]).all(n, n.matches('^[0-9.]+/[0-9]+$') && isCIDR(n) && cidr(n).masked() == cidr(n))
    && size(e.?ports.orValue([])) <= 15 && (!has(e.ports) || r.?protocol.orValue('') in ['TCP', 'UDP', 'SCTP'])
    && e.?ports.orValue([]).all(p, type(p) == int && p >= 1 && p <= 65535))))
{{- end }}
