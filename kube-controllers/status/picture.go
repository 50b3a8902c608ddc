package status

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/maneki-net/maneki/typha/hub"
)

// resource names what a problem is about; its kind is one of typha/calc's.
type resource struct{ Kind, Namespace, Name string }

// problem is why a resource cannot be used.
type problem struct {
	reason string
	// inherited says that it stood when this process first heard of any: whoever led before may have told of it.
	inherited bool
}

// picture is what all replicas of Typha say, as one.
//
// They compute the same from the same objects, but not at the same moment, and one that has just started has said
// nothing yet. So a resource is unusable as long as any replica that is observed says so; of several reasons the latest
// news counts, and what a replica says when it is first heard is no news. While none is observed all problems stand.
//
// A node is connected if any replica that is observed has a stream of it; of several the youngest counts. That it has
// none is known only while each replica that is ready is observed.
type picture struct {
	mu       sync.Mutex
	ready    map[string]bool // the replicas that the cluster has; nil until it has said so
	replicas map[string]*replica
	problems map[resource]problem // as they stand
	news     uint64               // how many there were
	begun    bool                 // a replica has been observed
}

// replica is what one replica has said since it is observed.
type replica struct {
	nodes    map[string]hub.NodeStatus
	problems map[resource]statement
	answers  map[string]hub.NodeAnswer // by node
}

// statement is a reason with the number of the news that it was; 0 is none.
type statement struct {
	reason string
	news   uint64
}

// change is what has to be looked at again.
type change struct {
	nodes     []string
	resources []resource
	// everyNode and everyPolicy: nothing could be said of those that no replica speaks of, and now it can.
	everyNode, everyPolicy bool
}

func newPicture() *picture {
	return &picture{replicas: map[string]*replica{}, problems: map[resource]problem{}}
}

// list takes in which replicas are ready.
func (p *picture) list(ready map[string]bool) change {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.complete()
	p.ready = ready
	return change{everyNode: !before && p.complete()}
}

// take takes in what a replica says.
func (p *picture) take(name string, o hub.Observed) change {
	p.mu.Lock()
	defer p.mu.Unlock()
	complete, judging := p.complete(), len(p.replicas) > 0
	var c change
	if o.Whole {
		c = p.forget(name)
		p.replicas[name] = &replica{nodes: map[string]hub.NodeStatus{}, problems: map[resource]statement{},
			answers: map[string]hub.NodeAnswer{}}
	}
	r := p.replicas[name]
	if r == nil {
		return c // its first word has to be the whole
	}
	for _, n := range o.Nodes {
		if last, there := r.nodes[n.Node]; !there || !sameState(last, n) {
			c.nodes = append(c.nodes, n.Node)
		}
		r.nodes[n.Node] = n
	}
	for _, n := range o.Gone {
		delete(r.nodes, n)
		delete(r.answers, n)
		c.nodes = append(c.nodes, n)
	}
	for _, a := range o.Answers {
		if len(a.Status) == 0 { // it is as before
			a.StatusAnswer = r.answers[a.Node].StatusAnswer
		}
		r.answers[a.Node] = a
	}
	for _, v := range o.Problems {
		key := resource{v.Kind, v.Namespace, v.Name}
		c.resources = append(c.resources, key)
		if v.Reason == "" {
			delete(r.problems, key)
			continue
		}
		s := statement{reason: v.Reason}
		if !o.Whole {
			p.news++
			s.news = p.news
		}
		r.problems[key] = s
	}
	if !judging {
		c.resources = slices.AppendSeq(c.resources, maps.Keys(p.problems))
	}
	c.resources = p.settle(c.resources)
	c.everyNode, c.everyPolicy = !complete && p.complete(), !judging
	p.begun = true
	return c
}

// sameState reports whether two statuses of a node come to the same: most tell of commits that it has applied.
func sameState(a, b hub.NodeStatus) bool {
	return a.Connected.Equal(b.Connected) && a.Lagging() == b.Lagging() && (a.Applied == 0) == (b.Applied == 0) &&
		slices.Equal(a.Errors, b.Errors) && slices.Equal(a.Notices, b.Notices) && slices.Equal(a.Lacks, b.Lacks)
}

// lose takes in that a replica is no longer observed.
func (p *picture) lose(name string) change {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.forget(name)
	c.resources = p.settle(c.resources)
	return c
}

// forget drops what a replica said, and gives what that was.
func (p *picture) forget(name string) (c change) {
	if r := p.replicas[name]; r != nil {
		c.nodes = slices.Collect(maps.Keys(r.nodes))
		c.resources = slices.Collect(maps.Keys(r.problems))
		delete(p.replicas, name)
	}
	return c
}

// settle decides on resources, and gives those whose problem is another.
func (p *picture) settle(all []resource) (changed []resource) {
	if len(p.replicas) == 0 {
		return nil
	}
	for _, key := range all {
		var last statement
		for _, r := range p.replicas {
			if s := r.problems[key]; cmp.Or(cmp.Compare(s.news, last.news), cmp.Compare(s.reason, last.reason)) > 0 {
				last = s
			}
		}
		if last.reason == p.problems[key].reason {
			continue
		}
		changed = append(changed, key)
		if last.reason == "" {
			delete(p.problems, key)
		} else {
			p.problems[key] = problem{last.reason, !p.begun}
		}
	}
	return changed
}

// complete reports whether what no replica speaks of is known not to be.
func (p *picture) complete() bool {
	if p.ready == nil {
		return false
	}
	for name := range p.ready {
		if p.replicas[name] == nil {
			return false
		}
	}
	return true
}

// node returns what is said of a node, and whether it is known: that it is connected, or that it is not.
func (p *picture) node(name string) (status hub.NodeStatus, connected, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.replicaOf(name)
	if r == nil {
		return status, false, p.complete()
	}
	return r.nodes[name], true, true
}

// answer returns what a node reports on itself, the zero value if nothing yet, and what is known of it as node does.
func (p *picture) answer(name string) (a hub.NodeAnswer, connected, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.replicaOf(name)
	if r == nil {
		return a, false, p.complete()
	}
	return r.answers[name], true, true
}

// replicaOf returns the replica with a node's youngest stream; nil if no replica has one.
func (p *picture) replicaOf(node string) (of *replica) {
	var youngest time.Time
	for _, r := range p.replicas {
		if s, ok := r.nodes[node]; ok && (of == nil || s.Connected.After(youngest)) {
			of, youngest = r, s.Connected
		}
	}
	return of
}

// problem returns what stands of a resource; no reason is none. judged says whether a replica is there to object.
func (p *picture) problem(key resource) (v problem, judged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problems[key], len(p.replicas) > 0
}

// unusable counts the problems that stand, by kind.
func (p *picture) unusable() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{}
	for key := range p.problems {
		counts[key.Kind]++
	}
	return counts
}
