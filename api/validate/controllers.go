package validate

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func kubeControllers(spec *field.Path, s *v3.KubeControllersConfigurationSpec) field.ErrorList {
	c, at := &s.Controllers, spec.Child("controllers")
	errs := notNegative(spec.Child("etcdV3CompactionPeriod"), s.EtcdV3CompactionPeriod)
	if c.Namespace != nil {
		errs = append(errs, notNegative(at.Child("namespace", "reconcilerPeriod"), c.Namespace.ReconcilerPeriod)...)
	}
	if c.Policy != nil {
		errs = append(errs, notNegative(at.Child("policy", "reconcilerPeriod"), c.Policy.ReconcilerPeriod)...)
	}
	if c.ServiceAccount != nil {
		errs = append(errs, notNegative(at.Child("serviceAccount", "reconcilerPeriod"),
			c.ServiceAccount.ReconcilerPeriod)...)
	}
	if c.WorkloadEndpoint != nil {
		errs = append(errs, notNegative(at.Child("workloadEndpoint", "reconcilerPeriod"),
			c.WorkloadEndpoint.ReconcilerPeriod)...)
	}
	if c.Node == nil {
		return errs
	}
	errs = append(errs, notNegative(at.Child("node", "reconcilerPeriod"), c.Node.ReconcilerPeriod)...)
	errs = append(errs, notNegative(at.Child("node", "leakGracePeriod"), c.Node.LeakGracePeriod)...)
	if h := c.Node.HostEndpoint; h != nil {
		errs = append(errs, hostEndpoints(at.Child("node", "hostEndpoint"), h)...)
	}
	return errs
}

func notNegative(path *field.Path, d *metav1.Duration) field.ErrorList {
	if d != nil && d.Duration < 0 {
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must not be negative, for example 90s, 5m "+
			"or 1h")}
	}
	return nil
}

func hostEndpoints(path *field.Path, s *v3.AutoHostEndpointConfig) field.ErrorList {
	var errs field.ErrorList
	for i := range s.Templates {
		errs = append(errs, template(path.Child("templates").Index(i), &s.Templates[i])...)
	}
	return errs
}

func template(path *field.Path, t *v3.Template) field.ErrorList {
	errs := expression(path.Child("interfacePattern"), t.InterfacePattern)
	if t.GenerateName != "" {
		for _, wrong := range validation.IsDNS1123Subdomain(t.GenerateName) {
			errs = append(errs, field.Invalid(path.Child("generateName"), t.GenerateName, wrong))
		}
	}
	errs = append(errs, networks(path.Child("interfaceCIDRs"), t.InterfaceCIDRs)...)
	errs = append(errs, rule.Selector(path.Child("nodeSelector"), t.NodeSelector)...)
	return append(errs, metav1validation.ValidateLabels(t.Labels, path.Child("labels"))...)
}
