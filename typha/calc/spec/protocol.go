package spec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/api/rule"
)

// Protocol returns the IANA number of a protocol as Kubernetes names it; the empty name means TCP. It returns false for
// a protocol that has no ports in Kubernetes.
func Protocol(name corev1.Protocol) (uint8, bool) {
	switch name {
	case "", corev1.ProtocolTCP:
		return rule.TCP, true
	case corev1.ProtocolUDP:
		return rule.UDP, true
	case corev1.ProtocolSCTP:
		return rule.SCTP, true
	}
	return 0, false
}
