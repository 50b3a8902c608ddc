// Package transport carries what a hub hands out to the nodes, over gRPC with mutual TLS, and what the nodes report
// back. docs/protocol.md describes the protocol.
//
//   - Server serves the sessions and observers of a Hub. Package auth says who a peer is, package balance which stream
//     ends for the sake of another replica.
//   - Client is the hub.Source of a node that has a Typha. It stays connected, and remembers what the consumer has, so
//     that only differences are sent after a reconnection.
//   - Observe follows what the nodes of one replica report, and which resources cannot be used.
//
// The package never decides what a node needs, and knows nothing of datastores.
//
// Server: gRPC runs the handler of each stream on a goroutine of its own. The handler starts one goroutine that
// receives and one that sends; only the latter calls the Session. What several nodes receive is encoded and compressed
// by whichever goroutine needs it first.
//
// Client: Run connects, reads and hands commits to the consumer of Next. Two more goroutines of each connection send
// reports and answers, and one presents renewed tokens. Observe reads on the caller's goroutine.
package transport
