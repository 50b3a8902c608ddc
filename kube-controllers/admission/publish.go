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

// The names of the webhooks within their configurations, which API servers put into their error messages, and where
// they are served.
const (
	validatingName = "validate.projectcalico.org"
	validatingPath = "/validate"
	mutatingName   = "default.projectcalico.org"
	mutatingPath   = "/default"
)

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

// completable lists the policies, which have fields that follow from others.
func completable() []string {
	return []string{
		datastore.GlobalNetworkPolicies.Plural, datastore.CalicoNetworkPolicies.Plural,
		datastore.StagedGlobalNetworkPolicies.Plural, datastore.StagedNetworkPolicies.Plural,
	}
}

// What the configurations say has every field set that the API server would default, so that equality is meaningful.
var (
	scope      = registration.AllScopes
	sideEffect = registration.SideEffectClassNone
	match      = registration.Equivalent
	never      = registration.NeverReinvocationPolicy
	timeout    = int32(5)
)

func (s *Server) clientConfig(path string, authorities []byte) registration.WebhookClientConfig {
	port := int32(443)
	return registration.WebhookClientConfig{
		Service: &registration.ServiceReference{
			Namespace: s.options.Namespace, Name: s.options.Service, Path: &path, Port: &port},
		CABundle: authorities,
	}
}

func rules(resources []string, operations ...registration.OperationType) registration.RuleWithOperations {
	return registration.RuleWithOperations{Operations: operations, Rule: registration.Rule{
		APIGroups: []string{v3.GroupVersion.Group}, APIVersions: []string{v3.GroupVersion.Version}, Resources: resources, Scope: &scope}}
}

// validating is what the ValidatingWebhookConfiguration should say.
func (s *Server) validating(authorities []byte) []registration.ValidatingWebhook {
	policy := s.options.FailurePolicy
	return []registration.ValidatingWebhook{{
		Name:         validatingName,
		ClientConfig: s.clientConfig(validatingPath, authorities),
		Rules: []registration.RuleWithOperations{
			rules(validated(), registration.Create, registration.Update),
			rules([]string{datastore.Tiers.Plural}, registration.Delete),
		},
		FailurePolicy:           &policy,
		MatchPolicy:             &match,
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             &sideEffect,
		TimeoutSeconds:          &timeout,
		AdmissionReviewVersions: []string{"v1"},
	}}
}

// mutating is what the MutatingWebhookConfiguration should say.
func (s *Server) mutating(authorities []byte) []registration.MutatingWebhook {
	policy := s.options.FailurePolicy
	return []registration.MutatingWebhook{{
		Name:                    mutatingName,
		ClientConfig:            s.clientConfig(mutatingPath, authorities),
		Rules:                   []registration.RuleWithOperations{rules(completable(), registration.Create, registration.Update)},
		FailurePolicy:           &policy,
		MatchPolicy:             &match,
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             &sideEffect,
		TimeoutSeconds:          &timeout,
		AdmissionReviewVersions: []string{"v1"},
		ReinvocationPolicy:      &never,
	}}
}

// configurations are the two objects that API servers find the webhooks in. The installation makes them.
type configurations struct {
	validating registration.ValidatingWebhookConfiguration
	mutating   registration.MutatingWebhookConfiguration
}

func (s *Server) configurations(ctx context.Context) (*configurations, error) {
	c, key := &configurations{}, types.NamespacedName{Name: s.options.Configuration}
	if err := s.options.Client.Get(ctx, key, &c.validating); err != nil {
		return nil, fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", key.Name, err)
	}
	if err := s.options.Client.Get(ctx, key, &c.mutating); err != nil {
		return nil, fmt.Errorf("read MutatingWebhookConfiguration %s: %w", key.Name, err)
	}
	return c, nil
}

// publish makes API servers call the webhooks and trust their certificate.
func (s *Server) publish(ctx context.Context, c *configurations, authorities []byte) error {
	if wanted := s.validating(authorities); !equality.Semantic.DeepEqual(c.validating.Webhooks, wanted) {
		c.validating.Webhooks = wanted
		if err := s.options.Client.Update(ctx, &c.validating); err != nil {
			return fmt.Errorf("update ValidatingWebhookConfiguration %s: %w", c.validating.Name, err)
		}
		s.options.Log.Info("published admission webhook", "webhook", validatingName, "configuration", c.validating.Name)
	}
	if wanted := s.mutating(authorities); !equality.Semantic.DeepEqual(c.mutating.Webhooks, wanted) {
		c.mutating.Webhooks = wanted
		if err := s.options.Client.Update(ctx, &c.mutating); err != nil {
			return fmt.Errorf("update MutatingWebhookConfiguration %s: %w", c.mutating.Name, err)
		}
		s.options.Log.Info("published admission webhook", "webhook", mutatingName, "configuration", c.mutating.Name)
	}
	return nil
}
