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
The security context of a container that changes its node. It runs as root, with only the capabilities in the argument, a
list. It is not privileged. Under SELinux it has the type of privileged containers, which may use files of the host.
*/ -}}
{{- define "maneki.onHost" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
capabilities: {drop: [ALL], add: [{{ join ", " . }}]}
seccompProfile: {type: RuntimeDefault}
seLinuxOptions: {type: spc_t}
{{- end }}

{{- /* Rules to read the resources that policy is computed from: the kinds of typha/sync. The argument is the verbs. */}}
{{- define "maneki.computedFrom" }}
  - apiGroups: [projectcalico.org]
    resources:
    - bgpconfigurations
    - bgpfilters
    - bgppeers
    - clusterinformations
    - felixconfigurations
    - globalnetworkpolicies
    - globalnetworksets
    - hostendpoints
    - ipamblocks
    - ipamconfigurations
    - ippools
    - ipreservations
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
  # Shows whether the cluster has such policies at all. A 404 of an API server does not prove that it has none.
  - apiGroups: [apiextensions.k8s.io]
    resources: [customresourcedefinitions]
    resourceNames: [clusternetworkpolicies.policy.networking.k8s.io]
    verbs: [list]
{{- end }}

{{- /*
maneki.incomplete is a CEL expression. It is true if a policy lacks its types, or the label with its tier.
*/ -}}
{{- define "maneki.incomplete" -}}
object.?metadata.?labels[?'projectcalico.org/tier'].orValue('') != object.?spec.?tier.orValue('default')
|| object.?spec.?tier.orValue('') == '' || size(object.?spec.?types.orValue([])) == 0
{{- end }}

{{- /*
maneki.plainSelector is a CEL expression. It is true if the string . is a selector of up to 256 characters that is valid by
its form: labels, has(), ==, !=, in and not in, joined by && and ||. Quoted text has no "(", so that it can't be taken for
global().
*/ -}}
{{- define "maneki.plainSelector" }}
{{- $label := "[A-Za-z0-9_./-]+" }}
{{- $text := `('[^'"(]*'|"[^'"(]*")` }}
{{- $term := printf `(!?has\(%s\)|%s *(==|!=) *%s|%s +(not +)?in *\{ *%s( *, *%s)* *\})` $label $label $text $label $text $text }}
(size({{ . }}) <= 256 && ({{ . }} == 'all()' || {{ . }}.matches(r'''^ *{{ $term }}( *(&&|\|\|) *{{ $term }})* *$''')))
{{- end }}

{{- /*
maneki.plainPolicy is a CEL expression. It is true if the form of a policy that the CRD accepts shows that it is valid and
needs no warning: it has few rules, with only protocols by name, plain selectors, IPv4 networks and ports by number. The
limits keep the expression's cost well below what API servers allow.
*/ -}}
{{- define "maneki.plainPolicy" -}}
!has(object.spec)
|| object.spec.all(k, k in ['tier', 'order', 'types', 'selector', 'namespaceSelector', 'ingress', 'egress'])
&& object.spec.?tier.orValue('default').matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')
&& [object.spec.?selector.orValue('all()'), object.spec.?namespaceSelector.orValue('all()')].all(s, {{ include "maneki.plainSelector" "s" }})
&& (!has(object.spec.types) || ['Ingress', 'Egress'].all(t,
  t in object.spec.types || size(object.spec[?t.lowerAscii()].orValue([])) == 0))
&& [object.spec.?ingress.orValue([]), object.spec.?egress.orValue([])].all(rules, size(rules) <= 10 && rules.all(r,
  r.all(k, k in ['action', 'protocol', 'source', 'destination']) && has(r.action)
  && (!has(r.protocol) || r.protocol in ['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6', 'UDPLite'])
  && [r.?source.orValue({}), r.?destination.orValue({})].all(e,
    e.all(k, k in ['selector', 'notSelector', 'namespaceSelector', 'nets', 'ports'])
    && [e.?selector.orValue('all()'), e.?notSelector.orValue('all()'), e.?namespaceSelector.orValue('all()')].all(s, {{ include "maneki.plainSelector" "s" }})
    && size(e.?nets.orValue([])) <= 8
    && e.?nets.orValue([]).all(n, n.matches('^[0-9.]+/[0-9]+$') && isCIDR(n) && cidr(n).masked() == cidr(n))
    && size(e.?ports.orValue([])) <= 15 && (!has(e.ports) || r.?protocol.orValue('') in ['TCP', 'UDP', 'SCTP'])
    && e.?ports.orValue([]).all(p, type(p) == int && p >= 1 && p <= 65535))))
{{- end }}

{{- /*
maneki.wide is a CEL expression: the selectors of the peer . have more than 9 labels, expressions and values together. Up to
that many count as one set in Typha's budget. A long list is not gone through, which keeps the cost low.
*/ -}}
{{- define "maneki.wide" -}}
[?{{ . }}.?podSelector, ?{{ . }}.?namespaceSelector, ?{{ . }}.?namespaces, ?{{ . }}.?nodes,
  ?{{ . }}.?pods.?podSelector, ?{{ . }}.?pods.?namespaceSelector].map(s, size(s.?matchLabels.orValue({}))
    + (size(s.?matchExpressions.orValue([])) > 9 ? 10
      : s.?matchExpressions.orValue([]).map(e, 1 + size(e.?values.orValue([]))).sum())).sum() > 9
{{- end }}

{{- /*
maneki.largePolicy is a CEL expression: a NetworkPolicy or ClusterNetworkPolicy may have more rules or sets than Typha's budget
(typha/calc/budget.go) has for one. It is true for every policy that has, and for some that have not: those of more than 500
rules, peers and ports, for which counting exactly would cost more than API servers allow, and those with wide selectors.
*/ -}}
{{- define "maneki.largePolicy" -}}
{{- $env := .Values.typha.env | default dict }}
{{- $rules := $env.TYPHA_POLICYMAXRULES | default 10000 | int }}
{{- $sets := $env.TYPHA_POLICYMAXSETS | default 250 | int }}
{{- $peers := "r.?from.orValue(r.?to.orValue([]))" }}
{{- $ports := "r.?ports.orValue(r.?protocols.orValue([]))" }}
[object.spec.?ingress.orValue([]) + object.spec.?egress.orValue([])].exists(rules, size(rules) > 500
  || rules.map(r, size({{ $peers }}) + size({{ $ports }})).sum() > 500
  || rules.map(r, [1, size({{ $ports }})].max() * [1, {{ $peers }}.map(p,
      1 + size(p.?ipBlock.?except.orValue([])) + size(p.?networks.orValue([]))).sum()].max()).sum() > {{ $rules }}
  || rules.map(r, (1 + size({{ $peers }}.filter(p, !has(p.ipBlock) && !has(p.networks))))
      * (1 + {{ $ports }}.map(q, has(q.destinationNamedPort) ? 3 : type(q.?port.orValue(0)) == string ? 1 : 0).sum())
      - 1).sum() >= {{ $sets }}
  || rules.exists(r, {{ $peers }}.exists(p, {{- include "maneki.wide" "p" | nindent 4 }})))
|| [object.spec, object.spec.?subject.orValue({})].exists(p, {{- include "maneki.wide" "p" | nindent 2 }})
{{- end }}

{{- /*
The kinds, with spaces between, whose resource named default the chart makes. It leaves one alone that somebody else made
before the chart did: Helm would refuse the upgrade. What the last release made stays in the release, or Helm would
delete it; an annotation of the ClusterRole says what that was.
*/ -}}
{{- define "maneki.defaultKinds" -}}
{{- $role := lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "calico-kube-controllers" -}}
{{- $before := splitList " " (dig "metadata" "annotations" "maneki.net/default-kinds" "" $role) -}}
{{- range $kind, $spec := dict "BGPConfiguration" .Values.bgpConfiguration "FelixConfiguration" .Values.felixConfiguration -}}
  {{- $there := dict -}}
  {{- if $.Capabilities.APIVersions.Has (printf "projectcalico.org/v3/%s" $kind) -}}
    {{- $there = lookup "projectcalico.org/v3" $kind "" "default" -}}
  {{- end -}}
  {{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there -}}
  {{- if or $spec (not $there) (eq $owner $.Release.Name) (has $kind $before) }} {{ $kind }}{{ end -}}
{{- end -}}
{{- end -}}
