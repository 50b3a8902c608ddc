// Package spec says which items a selector means and what an IP set contains, whatever a cluster has: the terms in
// which compiled policies name what is looked up later.
//
// Two specs of the same meaning have the same key, so that what is computed for one is used for both. A set's name on
// the wire is a hash of its meaning.
//
// The package is pure and holds no state. It knows no policies and no items. The packages in typha/calc that compile
// policies, match selectors and keep sets import it; it imports none of them.
package spec
