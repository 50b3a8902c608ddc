// Package auth says who the peer of a connection is, for how long that counts, and how much a peer may occupy before
// and after it has proved it.
//
//   - TLS and Handshaker: mutual TLS from certificate files that may be replaced while they are in use.
//   - Tokens: bound service-account tokens, verified with the keys that the API server publishes.
//   - Role and Identify: whether the peer of a stream is a node or an observer, and its name.
//   - ExpiryTimer: ends a stream whose token or certificate has expired and was not renewed.
//   - StrangerLimits and Credentials: bounds for connections of peers that have not proved who they are.
//   - Door: bounds for the hellos that are in memory at a time.
//
// The package never decides what a peer is sent, and knows neither the hub nor the frames of the protocol.
//
// The transport calls it on the goroutine of the connection or stream concerned. Handshaker.Watch and Tokens.Keep
// block: each runs on a goroutine of its own, which the caller starts. An ExpiryTimer runs on a goroutine
// of the runtime. All types are safe for concurrent use unless they say otherwise.
package auth
