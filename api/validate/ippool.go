package validate

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/maneki-net/maneki/api/rule"
	v3 "github.com/maneki-net/maneki/api/v3"
)

func pool(spec *field.Path, s *v3.IPPoolSpec) field.ErrorList {
	errs := rule.Selector(spec.Child("nodeSelector"), s.NodeSelector)
	return append(errs, rule.Selector(spec.Child("namespaceSelector"), s.NamespaceSelector)...)
}
