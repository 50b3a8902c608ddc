package certificates

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/typha/auth"
)

var (
	named   = regexp.MustCompile(`fqName: "([^"]+)"`)
	matched = regexp.MustCompile(`__name__=~"([^"]+)"`)
)

// nameOf gives the name of a collector's one metric.
func nameOf(c prometheus.Collector) string {
	descs := make(chan *prometheus.Desc, 1)
	c.Describe(descs)
	return named.FindStringSubmatch((<-descs).String())[1]
}

// TestAlertsAreOnMetricsThatThereAre: an alert on a name that is misspelt never comes.
func TestAlertsAreOnMetricsThatThereAre(t *testing.T) {
	content, err := os.ReadFile("../../docs/examples/certificates-alert.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	if err := yaml.Unmarshal(content, &rule); err != nil {
		t.Fatal(err)
	}
	rules := rule.Spec.Groups[0].Rules
	if len(rules) != 2 || !strings.Contains(rules[0].Expr, nameOf(expiration)+")") {
		t.Fatalf("rules %+v", rules)
	}
	for _, program := range []string{"typha", "felix"} {
		name := nameOf(auth.NewExpiry(program, auth.TLS{}))
		if !regexp.MustCompile("^(" + matched.FindStringSubmatch(rules[1].Expr)[1] + ")$").MatchString(name) {
			t.Errorf("no alert on %s", name)
		}
	}
}
