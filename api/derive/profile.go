package derive

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// DefaultAllow is the name of a profile that every cluster has and that allows everything.
const DefaultAllow = "projectcalico-default-allow"

// AllowProfile returns the profile DefaultAllow.
func AllowProfile() *v3.Profile {
	p := profile(DefaultAllow, metav1.ObjectMeta{})
	p.Spec.LabelsToApply = nil
	allow(p)
	return p
}

// NamespaceProfile returns the profile of a namespace: it allows what no policy decides, and gives its pods the
// namespace's labels behind a prefix.
func NamespaceProfile(namespace *corev1.Namespace) *v3.Profile {
	p := profile(v3.NamespaceProfilePrefix+namespace.Name, namespace.ObjectMeta)
	label(p, v3.NamespaceLabelPrefix, namespace.ObjectMeta)
	allow(p)
	return p
}

// ServiceAccountProfile returns the profile of a service account: it gives its pods the account's labels behind a
// prefix, and has no rules.
func ServiceAccountProfile(account *corev1.ServiceAccount) *v3.Profile {
	p := profile(serviceAccountProfile(account.Namespace, account.Name), account.ObjectMeta)
	label(p, v3.ServiceAccountLabelPrefix, account.ObjectMeta)
	return p
}

// ProfileOf says what a profile is named after: a namespace when account is empty, else a service account.
func ProfileOf(name string) (namespace, account string, ok bool) {
	if namespace, ok := strings.CutPrefix(name, v3.NamespaceProfilePrefix); ok {
		return namespace, "", namespace != ""
	}
	rest, ok := strings.CutPrefix(name, v3.ServiceAccountProfilePrefix)
	// Names of namespaces have no dots, those of service accounts may.
	namespace, account, both := strings.Cut(rest, ".")
	return namespace, account, ok && both && namespace != "" && account != ""
}

func serviceAccountProfile(namespace, account string) string {
	return v3.ServiceAccountProfilePrefix + namespace + "." + account
}

func profile(name string, of metav1.ObjectMeta) *v3.Profile {
	return &v3.Profile{
		TypeMeta: typeMeta("Profile"),
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: of.UID, CreationTimestamp: of.CreationTimestamp, ResourceVersion: of.ResourceVersion},
	}
}

func label(p *v3.Profile, prefix string, of metav1.ObjectMeta) {
	p.Spec.LabelsToApply = map[string]string{prefix + v3.LabelName: of.Name}
	for key, value := range of.Labels {
		p.Spec.LabelsToApply[prefix+key] = value
	}
}

func allow(p *v3.Profile) {
	p.Spec.Ingress = []v3.Rule{{Action: v3.Allow}}
	p.Spec.Egress = []v3.Rule{{Action: v3.Allow}}
}
