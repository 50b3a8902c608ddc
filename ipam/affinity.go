package ipam

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam/block"
)

// A block is claimed in four writes: its BlockAffinity (pending), the IPAMBlock, empty and with spec.deleted; after a
// look at all blocks that finds no other one there, the IPAMBlock without it and with the first addresses; the
// BlockAffinity again (confirmed). The block decides: of several claimers one creates it. What disagrees with the
// blocks is the trace of a crash, and is corrected when its host next reads its blocks, or removed with the host.
//
// A client that releases a node marks the node's affinities (pendingDeletion) before it releases the blocks. A node
// that is back removes the mark and writes the block, as Calico's nodes do. The release then finds both changed, and
// leaves the block to the node.

// maxName is the longest name of a Kubernetes object.
const maxName = 253

// AffinityName is the name of a node's BlockAffinity for a block, as in Calico:
// <node>-10-244-0-0-26. Where that is too long, a hash of it stands for its end.
func AffinityName(node string, cidr netip.Prefix) string {
	name := node + "-" + v3.BlockName(cidr)
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	end := "-" + hex.EncodeToString(sum[:16])
	return name[:maxName-len(end)] + end
}

// affinities lists the BlockAffinities of a node.
func (c *Client) affinities(ctx context.Context, host string) ([]*v3.BlockAffinity, error) {
	list, err := c.store.List(ctx, datastore.BlockAffinities, datastore.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list block affinities: %w", err)
	}
	var of []*v3.BlockAffinity
	for _, item := range list.Items {
		if a, ok := item.(*v3.BlockAffinity); ok && a.Spec.Node == host && a.Spec.Type != "virtual" {
			of = append(of, a)
		}
	}
	return of, nil
}

// repairAffinities makes a host's BlockAffinities agree with the blocks.
func (c *Client) repairAffinities(ctx context.Context, host string, inv *inventory) error {
	affinities, err := c.affinities(ctx, host)
	if err != nil {
		return err
	}
	missing := map[string]netip.Prefix{}
	for _, b := range inv.blocks {
		if b.Node() == host {
			missing[b.CIDR.String()] = b.CIDR
		}
	}
	for _, a := range affinities {
		cidr, mine := missing[a.Spec.CIDR]
		switch {
		case !mine:
			err = c.deleteAffinity(ctx, a)
		case a.Spec.State == v3.StatePendingDeletion:
			err = c.keepBlock(ctx, host, cidr)
		case a.Spec.State != v3.StateConfirmed:
			_, err = c.setAffinity(ctx, host, cidr, v3.StateConfirmed)
		default:
			err = nil
		}
		if err != nil {
			return err
		}
		delete(missing, a.Spec.CIDR)
	}
	for _, cidr := range missing {
		if _, err := c.setAffinity(ctx, host, cidr, v3.StateConfirmed); err != nil {
			return err
		}
	}
	return nil
}

// keepBlock keeps for its host a block that somebody was about to release, unless it is too late.
func (c *Client) keepBlock(ctx context.Context, host string, cidr netip.Prefix) error {
	return c.withAffinity(ctx, host, cidr, func() (bool, error) {
		b, err := c.getBlock(ctx, v3.BlockName(cidr))
		if errors.Is(err, datastore.ErrNotFound) || errors.Is(err, block.ErrDamaged) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		result, err := c.amend(ctx, b, func(b block.Block) bool {
			if b.Node() == host {
				b.SetNode(host, c.now())
			}
			return b.Node() == host
		})
		return result.written, err
	})
}

// withAffinity puts the writing of a block between the two writes of its affinity. write says whether the block is
// the host's.
func (c *Client) withAffinity(ctx context.Context, host string, cidr netip.Prefix, write func() (bool, error)) error {
	pending, err := c.setAffinity(ctx, host, cidr, v3.StatePending)
	if err != nil {
		return err
	}
	mine, err := write()
	if err != nil {
		return err
	}
	if !mine {
		return c.deleteAffinity(ctx, pending)
	}
	return c.confirm(ctx, pending, cidr)
}

// setAffinity creates a BlockAffinity in a state, or moves it there, and gives it as stored.
func (c *Client) setAffinity(ctx context.Context, host string, cidr netip.Prefix,
	state v3.BlockAffinityState) (*v3.BlockAffinity, error) {
	a := &v3.BlockAffinity{
		ObjectMeta: metav1.ObjectMeta{Name: AffinityName(host, cidr)},
		Spec:       v3.BlockAffinitySpec{State: state, Node: host, Type: "host", CIDR: cidr.String()},
	}
	key := datastore.KeyOf(a)
	for {
		obj, err := c.store.Create(ctx, datastore.BlockAffinities, a)
		if !errors.Is(err, datastore.ErrExists) {
			return affinityOf("create", key, obj, err)
		}
		obj, err = c.store.Get(ctx, datastore.BlockAffinities, key)
		if errors.Is(err, datastore.ErrNotFound) {
			continue
		}
		found, err := affinityOf("read", key, obj, err)
		if err != nil || found.Spec == a.Spec {
			return found, err
		}
		found.Spec = a.Spec
		obj, err = c.store.Update(ctx, datastore.BlockAffinities, found)
		if !errors.Is(err, datastore.ErrConflict) && !errors.Is(err, datastore.ErrNotFound) {
			return affinityOf("update", key, obj, err)
		}
	}
}

// confirm ends a claim.
func (c *Client) confirm(ctx context.Context, a *v3.BlockAffinity, cidr netip.Prefix) error {
	a.Spec.State = v3.StateConfirmed
	_, err := c.store.Update(ctx, datastore.BlockAffinities, a)
	if errors.Is(err, datastore.ErrConflict) || errors.Is(err, datastore.ErrNotFound) {
		_, err = c.setAffinity(ctx, a.Spec.Node, cidr, v3.StateConfirmed)
		return err
	}
	return named("update", datastore.KeyOf(a), err)
}

func affinityOf(verb string, key datastore.Key, obj datastore.Object, err error) (*v3.BlockAffinity, error) {
	if err != nil {
		return nil, named(verb, key, err)
	}
	a, ok := obj.(*v3.BlockAffinity)
	if !ok {
		return nil, named(verb, key, fmt.Errorf("got a %T", obj))
	}
	return a, nil
}

// markAffinities sets affinities to pendingDeletion if they are unchanged since they were read, and returns them by
// CIDR. An affinity that has changed is nil: its node is claiming the block.
func (c *Client) markAffinities(ctx context.Context, affinities []*v3.BlockAffinity) (map[string]*v3.BlockAffinity,
	error) {
	marked := map[string]*v3.BlockAffinity{}
	var errs []error
	for _, a := range affinities {
		key := datastore.KeyOf(a)
		a.Spec.State = v3.StatePendingDeletion
		obj, err := c.store.Update(ctx, datastore.BlockAffinities, a)
		if errors.Is(err, datastore.ErrNotFound) {
			continue
		}
		marked[a.Spec.CIDR] = nil
		if errors.Is(err, datastore.ErrConflict) {
			continue
		}
		written, err := affinityOf("update", key, obj, err)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		marked[a.Spec.CIDR] = written
	}
	return marked, errors.Join(errs...)
}

// stands reports whether an affinity is unchanged since it was read. A nil affinity is not.
func (c *Client) stands(ctx context.Context, a *v3.BlockAffinity) (bool, error) {
	if a == nil {
		return false, nil
	}
	key := datastore.KeyOf(a)
	obj, err := c.store.Get(ctx, datastore.BlockAffinities, key)
	if errors.Is(err, datastore.ErrNotFound) {
		return false, nil
	}
	now, err := affinityOf("read", key, obj, err)
	return err == nil && now.ResourceVersion == a.ResourceVersion, err
}

// deleteAffinity removes an affinity as it was read. One that changed since stays: its
// claimer is at work.
func (c *Client) deleteAffinity(ctx context.Context, a *v3.BlockAffinity) error {
	key := datastore.KeyOf(a)
	err := c.store.Delete(ctx, datastore.BlockAffinities, key, datastore.Preconditions{Revision: a.ResourceVersion})
	if errors.Is(err, datastore.ErrNotFound) || errors.Is(err, datastore.ErrConflict) {
		return nil
	}
	return named("delete", key, err)
}

func named(verb string, key datastore.Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s BlockAffinity %s: %w", verb, key, err)
}
