// Package stream carries what typha/calc computes to the nodes.
//
// A Hub owns the engine and, on the one goroutine of Hub.Run, everything that is shared. Each
// node has a Session: a set of ids that changed since the node last asked, never a queue, so
// a slow reader costs memory for at most one mark per object that it needs and delays nobody. A
// commit is cut when the reader asks for it and is then the whole difference to the present. A change
// is marked in, and wakes, the sessions of those nodes alone that it concerns.
//
// The Hub hands out references to immutable values: objects, a catalog of those that every node needs, IP sets in
// pieces. Comparing with what a node holds, encoding and compressing is done by the sessions' goroutines, once for all of them
// (object.encoded, step.encoded, compressed).
//
// Felix reads a Session directly when it runs the Hub itself, and through Server and Client
// (gRPC, mutual TLS; docs/protocol.md) otherwise; both are a Source. What a node does not understand it
// gets in a form that closes; see wire.Downgrade. Whoever may observe follows, by Observe, what the nodes of one replica
// report and what cannot be used; its observer in the Hub has marks as a Session has.
//
// Package auth says who a peer is, and bounds the hellos in memory. Package balance says which stream ends for the sake
// of another replica. Type versions says whether a replica knows enough for a node.
//
// The package knows nothing of datastores, and programs nothing.
package stream
