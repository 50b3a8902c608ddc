package auth

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/typha/certfile"
)

// TestExpiry: each file has its end, of several authorities that of the last, and files that are not there have none.
func TestExpiry(t *testing.T) {
	authority, err := pki.New("test authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("felix", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := authority.Write(dir, pair); err != nil {
		t.Fatal(err)
	}
	files := TLS{CAFile: filepath.Join(dir, pki.CAFile), CertFile: filepath.Join(dir, pki.CertFile),
		KeyFile: filepath.Join(dir, pki.KeyFile)}
	longer, err := pki.New("the next authority", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	next := t.TempDir()
	if err := longer.Write(next, pki.Pair{}); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(next + "/" + pki.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(files.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.CAFile, append(both, first...), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := certfile.NewPair(files.CertFile, files.KeyFile).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := certfile.NewAuthorities(files.CAFile).Certificates()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{files.CAFile: float64(trusted[0].NotAfter.Unix()),
		files.CertFile: float64(own.Leaf.NotAfter.Unix())}
	if got := ends(t, files); !maps.Equal(got, want) {
		t.Errorf("ends %v, want %v", got, want)
	}
	if got := ends(t, TLS{CAFile: "/none", CertFile: "/none", KeyFile: "/none"}); len(got) > 0 {
		t.Errorf("files that are not there have the ends %v", got)
	}
}

// ends gives the metric by file.
func ends(t *testing.T, files TLS) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewExpiry("typha", files))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			all[m.Label[0].GetValue()] = m.Gauge.GetValue()
		}
	}
	return all
}
