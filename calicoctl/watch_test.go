package calicoctl

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// watching is a `get -w` that runs.
type watching struct {
	t     *testing.T
	lines chan string
	stop  func() int
}

func (b *bench) watch(line string) watching {
	b.t.Helper()
	store := b.store
	ctx, cancel := context.WithCancel(b.t.Context())
	read, write := io.Pipe()
	w := watching{t: b.t, lines: make(chan string)}
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, Environment{Name: b.name, In: strings.NewReader(""), Out: write, Err: write,
			Getenv: func(string) string { return "" },
			Open:   func(Connection) (datastore.Store, error) { return store, nil }}, strings.Fields(line))
		_ = write.Close() // never fails
	}()
	go func() {
		for scanner := bufio.NewScanner(read); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
		close(w.lines)
	}()
	w.stop = func() int {
		cancel()
		for range w.lines {
		}
		return <-done
	}
	b.t.Cleanup(cancel)
	return w
}

func (w watching) want(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		select {
		case got := <-w.lines:
			if got != want {
				w.t.Errorf("line %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			w.t.Fatalf("no line in 30 seconds, want %q", want)
		}
	}
}

func TestWatch(t *testing.T) {
	b := newBench(t)
	b.furnish()
	w := b.watch("get ippools -w --output-watch-events --selector !hidden")
	w.want("EVENT   NAME   CIDR          SELECTOR", "ADDED   a      10.1.0.0/16   all()",
		"ADDED   b      fd00::/64     has(gpu)")
	b.run("apply -f -", pool("longer", "cidr: 10.3.0.0/16"))
	w.want("ADDED   longer   10.3.0.0/16   all()")
	b.run("label ippool longer hidden=yes", "")
	w.want("DELETED   longer   10.3.0.0/16   all()")
	b.run("label ippool longer other=yes", "")
	b.run("label ippool longer hidden --remove", "")
	w.want("ADDED     longer   10.3.0.0/16   all()")
	b.run("patch ippool longer -p {spec:~{nodeSelector:~has(x)}}", "")
	w.want("MODIFIED   longer   10.3.0.0/16   has(x)")
	b.run("delete ippool longer", "")
	w.want("DELETED    longer   10.3.0.0/16   has(x)")
	if code := w.stop(); code != 0 {
		t.Errorf("exit code %d when interrupted", code)
	}
}

func TestWatchOfOneInOtherForms(t *testing.T) {
	b := newBench(t)
	b.furnish()
	names := b.watch("get ippool b -w -o name")
	objects := b.watch("get ippool b -w -o yaml --export --output-watch-events")
	names.want("ippool/b")
	first := []string{"---", "object:", "  apiVersion: projectcalico.org/v3", "  kind: IPPool", "  metadata:",
		"    name: b", "  spec:", "    cidr: fd00::/64"}
	objects.want(append(first, "    nodeSelector: has(gpu)", "type: ADDED")...)
	b.run("label ippool a x=y", "")
	b.run("patch ippool b -p {spec:~{nodeSelector:~null}}", "")
	names.want("ippool/b")
	objects.want(append(first, "type: MODIFIED")...)
	names.stop()
	objects.stop()
}

func TestWatchOfADerivedKindByName(t *testing.T) {
	b := newBench(t)
	b.furnish()
	w := b.watch("get wep n1-k8s-web--0-eth0 -n shop -w -o custom-columns=WORKLOAD,NETWORKS")
	w.want("WORKLOAD   NETWORKS", "web-0      10.1.0.5/32")
	_, err := datastore.Modify(t.Context(), b.store, datastore.Pods, datastore.Key{Namespace: "shop", Name: "web-0"},
		func(p *corev1.Pod) error {
			p.Annotations = map[string]string{"x": "y"}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	w.want("web-0      10.1.0.5/32")
	w.stop()
}

// A watch whose revision is no longer kept is made again, and what happened in between is shown.
func TestWatchGoesOnAfterAGap(t *testing.T) {
	store := memory.New()
	b := newBench(t)
	b.store = store
	if _, errs, code := b.run("apply -f -", pool("a", "cidr: 10.1.0.0/16")+pool("b", "cidr: 10.2.0.0/16")); code != 0 {
		t.Fatal(errs)
	}
	gate := &gated{Store: store, open: make(chan struct{}), watched: make(chan struct{}, 2)}
	b.store = gate
	w := b.watch("get ippools -w --output-watch-events -o custom-columns=NAME")
	w.want("EVENT   NAME", "ADDED   a", "ADDED   b")
	<-gate.watched
	b.store = store
	store.Disconnect()
	b.run("delete ippool a", "")
	b.run("label ippool b x=y", "")
	close(gate.open)
	w.want("MODIFIED   b", "DELETED    a")
	w.stop()
}

// gated is a datastore that can be listed once, and then not before it is open.
type gated struct {
	datastore.Store
	listed        bool
	open, watched chan struct{}
}

func (g *gated) Watch(ctx context.Context, kind datastore.Kind, revision string,
	opts datastore.ListOptions) (datastore.Watcher, error) {
	w, err := g.Store.Watch(ctx, kind, revision, opts)
	g.watched <- struct{}{}
	return w, err
}

func (g *gated) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (datastore.List, error) {
	if g.listed {
		<-g.open
	}
	g.listed = true
	return g.Store.List(ctx, kind, opts)
}
