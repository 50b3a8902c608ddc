package validate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/test/apiserver"
)

// document is a manifest with what its comments say.
type document struct{ manifest, name, server, library string }

func documents(t *testing.T, file string) []document {
	t.Helper()
	body, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for text := range strings.SplitSeq(string(body), "\n---\n") {
		d := document{manifest: text}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if s, ok := strings.CutPrefix(line, "# server: "); ok {
				d.server = s
			}
			if s, ok := strings.CutPrefix(line, "# library: "); ok {
				d.library = s
			}
		}
		var meta metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatalf("%s: %v in\n%s", file, err, text)
		}
		d.name = meta.Kind + "/" + meta.Name
		all = append(all, d)
	}
	return all
}

// decode gives the object of a manifest, or nil if it does not fit its Go type.
func decode(t *testing.T, manifest string) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(manifest), &meta); err != nil {
		t.Fatal(err)
	}
	o, err := scheme.New(meta.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(manifest), o); err != nil {
		return nil
	}
	return o
}

func text(errs field.ErrorList) string {
	if len(errs) == 0 {
		return ""
	}
	return errs.ToAggregate().Error()
}

func TestRefused(t *testing.T) {
	for _, d := range documents(t, "refused.yaml") {
		o := decode(t, d.manifest)
		if o == nil {
			continue // whoever decodes it refuses it
		}
		got := text(validate.Object(o))
		switch {
		case d.library == "-" && got != "":
			t.Errorf("%s: got %s, want nothing", d.name, got)
		case d.library != "-" && !strings.Contains(got, d.library):
			t.Errorf("%s:\n got %s\nwant %s", d.name, got, d.library)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, d := range documents(t, "accepted.yaml") {
		if got := text(validate.Object(decode(t, d.manifest))); got != "" {
			t.Errorf("%s: refused: %s", d.name, got)
		}
	}
}

// TestServer holds the API server's verdicts and messages to the same manifests, sent as
// kubectl sends them.
func TestServer(t *testing.T) {
	server := apiserver.Start(t)
	client, err := rest.HTTPClientFor(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents(t, "accepted.yaml") {
		if code, message := post(t, client, server.Config.Host, d.manifest); code != http.StatusCreated {
			t.Errorf("%s: refused: %s", d.name, message)
		}
	}
	for _, d := range documents(t, "refused.yaml") {
		code, message := post(t, client, server.Config.Host, d.manifest)
		switch {
		case d.server == "-" && code != http.StatusCreated:
			t.Errorf("%s: refused, which the library should do alone: %s", d.name, message)
		case d.server != "-" && (code == http.StatusCreated || !strings.Contains(message, d.server)):
			t.Errorf("%s:\n got %d %s\nwant %s", d.name, code, message, d.server)
		}
	}
}

// post makes the object of a manifest without keeping it.
func post(t *testing.T, client *http.Client, host, manifest string) (code int, message string) {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(manifest), &meta); err != nil {
		t.Fatal(err)
	}
	body, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	plural, _ := apimeta.UnsafeGuessKindToResource(meta.GroupVersionKind())
	url := fmt.Sprintf("%s/apis/%s/%s?dryRun=All&fieldValidation=Strict", host, meta.APIVersion, plural.Resource)
	answer, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var status metav1.Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, status.Message
}

func TestUpdate(t *testing.T) {
	old := &v3.IPPool{Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}}
	tests := []struct {
		change func(*v3.IPPoolSpec)
		want   string
	}{
		{func(s *v3.IPPoolSpec) { s.NATOutgoing = true }, ""},
		{func(s *v3.IPPoolSpec) { s.BlockSize = 26 }, ""}, // what it was
		{func(s *v3.IPPoolSpec) { s.BlockSize = 27 }, "spec.blockSize: Invalid value: 27: cannot be changed"},
		{func(s *v3.IPPoolSpec) { s.CIDR = "10.245.0.0/16" }, `spec.cidr: Invalid value: "10.245.0.0/16": cannot be changed`},
		{func(s *v3.IPPoolSpec) { s.IPIPMode = "x" }, "spec.ipipMode: Unsupported value"},
	}
	for i, tt := range tests {
		changed := old.DeepCopy()
		tt.change(&changed.Spec)
		if got := text(validate.Update(changed, old)); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("change %d: got %q, want %q", i, got, tt.want)
		}
	}
}

func TestPools(t *testing.T) {
	named := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
	}
	others := []*v3.IPPool{named("a", "10.244.0.0/16"), named("six", "fd00::/48"), named("broken", "10.0.0.0/99")}
	tests := []struct{ name, cidr, want string }{
		{"new", "10.245.0.0/16", ""},
		{"a", "10.244.0.0/16", ""}, // itself
		{"new", "10.244.128.0/17", `spec.cidr: Invalid value: "10.244.128.0/17": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "10.0.0.0/8", `spec.cidr: Invalid value: "10.0.0.0/8": overlaps IPPool a, which is 10.244.0.0/16: choose a network outside it`},
		{"new", "fd00:0:0:1::/64", `spec.cidr: Invalid value: "fd00:0:0:1::/64": overlaps IPPool six, which is fd00::/48: choose a network outside it`},
		{"new", "0.0.0.0/99", ""},
	}
	for _, tt := range tests {
		if got := text(validate.Pools(named(tt.name, tt.cidr), others)); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.name, tt.cidr, got, tt.want)
		}
	}
}

// FuzzObject looks for input that a validator cannot take.
func FuzzObject(f *testing.F) {
	for _, file := range []string{"accepted.yaml", "refused.yaml"} {
		body, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		for text := range strings.SplitSeq(string(body), "\n---\n") {
			if json, err := yaml.YAMLToJSON([]byte(text)); err == nil {
				f.Add(json)
			}
		}
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		for _, o := range []runtime.Object{
			&v3.IPPool{}, &v3.BGPPeer{}, &v3.BGPConfiguration{}, &v3.FelixConfiguration{},
			&v3.IPAMBlock{}, &v3.BlockAffinity{}, &v3.IPAMConfiguration{}, &v3.ClusterInformation{},
		} {
			if yaml.Unmarshal(body, o) == nil {
				validate.Update(o, o)
			}
		}
	})
}
