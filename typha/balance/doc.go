// Package balance spreads the nodes' streams over the replicas of Typha.
//
//   - Streams is the server's side: it ends streams beyond the replica's share, and all streams when the replica ends,
//     so that the nodes go to other replicas.
//   - Chooser is the client's side: which replica a node tries next, how long it waits before that, and when it leaves
//     a replica that is not ready any more.
//
// The package never opens or reads a connection, and does not know what a stream carries. It ends a stream by calling a
// function that its owner supplied.
//
// A Server calls Streams on the goroutines of its streams, with Run and Drain on one of its own. A Client calls a
// Chooser on the goroutine of its Run, with Watch on another one.
package balance
