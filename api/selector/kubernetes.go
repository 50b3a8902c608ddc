package selector

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxRequirements is how many labels and expressions a Kubernetes label selector may have. Kubernetes limits only the
// object's size, but each requirement is evaluated for each set of labels.
const maxRequirements = 1_000

// FromLabelSelector converts a Kubernetes label selector. As in Kubernetes, nil selects
// nothing and an empty one everything. An error names the requirement that cannot be
// used: an unknown operator, values where there must be none or the reverse, or characters that
// no label has. It may also be that there are too many requirements.
func FromLabelSelector(ls *metav1.LabelSelector) (*Selector, error) {
	if ls == nil {
		return newSelector(&negation{&constant{"all()", true}}), nil
	}
	if n := len(ls.MatchLabels) + len(ls.MatchExpressions); n > maxRequirements {
		return nil, fmt.Errorf("it has %d labels and expressions: at most %d can be used", n, maxRequirements)
	}
	var operands []node
	for _, key := range slices.Sorted(maps.Keys(ls.MatchLabels)) {
		n, err := requirement(key, metav1.LabelSelectorOpIn, []string{ls.MatchLabels[key]})
		if err != nil {
			return nil, fmt.Errorf("matchLabels: %w", err)
		}
		operands = append(operands, n)
	}
	for i, r := range ls.MatchExpressions {
		n, err := requirement(r.Key, r.Operator, r.Values)
		if err != nil {
			return nil, fmt.Errorf("matchExpressions[%d]: %w", i, err)
		}
		operands = append(operands, n)
	}
	switch len(operands) {
	case 0:
		return All(), nil
	case 1:
		return newSelector(operands[0]), nil
	}
	return newSelector(&junction{false, operands}), nil
}

func requirement(key string, op metav1.LabelSelectorOperator, values []string) (node, error) {
	notWord := func(r rune) bool { return r > 0x7f || !isWordByte(byte(r)) }
	if key == "" || len(key) > maxLabelLength || strings.ContainsFunc(key, notWord) {
		return nil, fmt.Errorf("%q is not a label", key)
	}
	for _, v := range values {
		if strings.ContainsAny(v, `'"`) {
			return nil, fmt.Errorf("label %s: %q is not a value of a label", key, v)
		}
	}
	switch op {
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		one, several := opEqual, opIn
		if op == metav1.LabelSelectorOpNotIn {
			one, several = opNotEqual, opNotIn
		}
		switch len(values) {
		case 0:
			return nil, fmt.Errorf("label %s: operator %s needs at least one value", key, op)
		case 1:
			return &comparison{key, one, values[0]}, nil
		}
		return newMembership(key, several, slices.Clone(values)), nil
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(values) > 0 {
			return nil, fmt.Errorf("label %s: operator %s takes no values", key, op)
		}
		if op == metav1.LabelSelectorOpDoesNotExist {
			return &negation{&has{key}}, nil
		}
		return &has{key}, nil
	}
	return nil, fmt.Errorf("label %s: operator %q is none of In, NotIn, Exists, DoesNotExist", key, op)
}
