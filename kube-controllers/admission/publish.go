package admission

import (
	"context"
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// webhookName is the webhook's name within its configuration, which API servers put into
// their error messages.
const webhookName = "validate.projectcalico.org"

// path is where the webhook is served.
const path = "/validate"

// validated lists the resources that users write. Blocks and affinities are not among
// them: assigning an address must not depend on a webhook.
func validated() []string {
	var plurals []string
	for _, kind := range datastore.CalicoKinds() {
		if kind != datastore.IPAMBlocks && kind != datastore.BlockAffinities {
			plurals = append(plurals, kind.Plural)
		}
	}
	return plurals
}

// webhooks is what the ValidatingWebhookConfiguration should say. Every field that the API
// server would default is set, so that equality is meaningful.
func (s *Server) webhooks(authorities []byte) []registration.ValidatingWebhook {
	port, timeout, scope := int32(443), int32(5), registration.AllScopes
	at, none, equivalent := path, registration.SideEffectClassNone, registration.Equivalent
	policy := s.options.FailurePolicy
	return []registration.ValidatingWebhook{{
		Name: webhookName,
		ClientConfig: registration.WebhookClientConfig{
			Service: &registration.ServiceReference{
				Namespace: s.options.Namespace, Name: s.options.Service, Path: &at, Port: &port},
			CABundle: authorities,
		},
		Rules: []registration.RuleWithOperations{{
			Operations: []registration.OperationType{registration.Create, registration.Update},
			Rule: registration.Rule{
				APIGroups:   []string{v3.GroupVersion.Group},
				APIVersions: []string{v3.GroupVersion.Version},
				Resources:   validated(),
				Scope:       &scope,
			},
		}},
		FailurePolicy:           &policy,
		MatchPolicy:             &equivalent,
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             &none,
		TimeoutSeconds:          &timeout,
		AdmissionReviewVersions: []string{"v1"},
	}}
}

// configuration reads the ValidatingWebhookConfiguration, which the installation makes.
func (s *Server) configuration(ctx context.Context) (*registration.ValidatingWebhookConfiguration, error) {
	config := &registration.ValidatingWebhookConfiguration{}
	err := s.options.Client.Get(ctx, types.NamespacedName{Name: s.options.Configuration}, config)
	if err != nil {
		return nil, fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", s.options.Configuration, err)
	}
	return config, nil
}

// publish makes API servers call the webhook and trust its certificate.
func (s *Server) publish(ctx context.Context, config *registration.ValidatingWebhookConfiguration, authorities []byte) error {
	wanted := s.webhooks(authorities)
	if equality.Semantic.DeepEqual(config.Webhooks, wanted) {
		return nil
	}
	config.Webhooks = wanted
	if err := s.options.Client.Update(ctx, config); err != nil {
		return fmt.Errorf("update ValidatingWebhookConfiguration %s: %w", config.Name, err)
	}
	s.options.Log.Info("published admission webhook", "configuration", config.Name)
	return nil
}
