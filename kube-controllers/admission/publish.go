package admission

import (
	"context"
	"encoding/json"
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The paths of the webhooks. The installation writes them into the two configurations.
const (
	validatingPath = "/validate"
	mutatingPath   = "/default"
	warningPath    = "/warn"
)

// publish makes API servers trust the webhooks' certificate. It writes nothing else of the configurations.
func (s *Server) publish(ctx context.Context, authorities []byte) error {
	var validating registration.ValidatingWebhookConfiguration
	var mutating registration.MutatingWebhookConfiguration
	key := types.NamespacedName{Name: s.options.Configuration}
	if err := s.options.Client.Get(ctx, key, &validating); err != nil {
		return fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", key.Name, err)
	}
	if err := s.options.Client.Get(ctx, key, &mutating); err != nil {
		return fmt.Errorf("read MutatingWebhookConfiguration %s: %w", key.Name, err)
	}
	trusted := map[string][]byte{}
	for _, w := range validating.Webhooks {
		trusted[w.Name] = w.ClientConfig.CABundle
	}
	if err := s.trust(ctx, "ValidatingWebhookConfiguration", &validating, trusted, authorities); err != nil {
		return err
	}
	clear(trusted)
	for _, w := range mutating.Webhooks {
		trusted[w.Name] = w.ClientConfig.CABundle
	}
	return s.trust(ctx, "MutatingWebhookConfiguration", &mutating, trusted, authorities)
}

// trust writes the authorities into every webhook of a configuration that trusts others. trusted has them by the
// webhook's name.
func (s *Server) trust(ctx context.Context, kind string, o client.Object, trusted map[string][]byte,
	authorities []byte) error {
	if len(trusted) == 0 {
		return fmt.Errorf("%s %s has no webhooks: install the chart again", kind, o.GetName())
	}
	var changed []any
	for name, bundle := range trusted {
		if string(bundle) != string(authorities) {
			config := map[string]any{"caBundle": authorities}
			changed = append(changed, map[string]any{"name": name, "clientConfig": config})
		}
	}
	if len(changed) == 0 {
		return nil
	}
	// API servers merge webhooks by their name. The patch requires that the object is unchanged since it was read, so
	// that it does not create a removed webhook again.
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": o.GetResourceVersion()}, "webhooks": changed})
	if err != nil {
		return fmt.Errorf("write %s %s: %w", kind, o.GetName(), err)
	}
	if err := s.options.Client.Patch(ctx, o, client.RawPatch(types.StrategicMergePatchType, body)); err != nil {
		return fmt.Errorf("write %s %s: %w", kind, o.GetName(), err)
	}
	s.options.Log.Info("published admission webhooks", "kind", kind, "configuration", o.GetName())
	return nil
}
